"""The batch that travels from a data module to a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of multimodal samples.

    Args:
        inputs: Modality name to a tensor of shape ``(B, *shape)``, in the model's scale.
        present: Booleans of shape ``(B, M)`` in the order of ``inputs``, false where a modality is
            missing; None where nothing is.
        label: Class indices of shape ``(B,)``, or attributes, 0 or 1, of shape ``(B, A)``; None
            where there are no labels.

    Example:
        >>> import torch
        >>> batch = Batch({"image": torch.zeros(4, 1, 8, 8), "text": torch.zeros(4, 5, 27)})
        >>> len(batch), batch.to(torch.device("cpu")).label is None
        (4, True)
    """

    inputs: dict[str, Tensor]
    present: Tensor | None = None
    label: Tensor | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=non_blocking)

        inputs = {name: x.to(device, non_blocking=non_blocking) for name, x in self.inputs.items()}
        return Batch(inputs, move(self.present), move(self.label))
