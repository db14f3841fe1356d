"""Networks of two-dimensional convolutions, laid out as they are fastest."""

from __future__ import annotations

import torch
from torch import nn


class Convolutional(nn.Sequential):
    """Layers one after another, their convolutions in the memory format ``channels_last``.

    On CPUs and GPUs they are faster in it, above all in bfloat16; nothing else differs.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.to(memory_format=torch.channels_last)
