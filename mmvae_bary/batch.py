"""The batch that travels from a data module to a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmvae_bary.markup import Words, html_table, sizes, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor


@dataclass(eq=False)  # and not frozen, as Lightning could not convert it to float64
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

    def __getitem__(self, rows: Tensor) -> Batch:
        """The samples at some places, or where booleans of shape ``(B,)`` hold."""
        present, label = (None if x is None else x[rows] for x in (self.present, self.label))
        return Batch({name: x[rows] for name, x in self.inputs.items()}, present, label)

    def _repr_html_(self) -> str:
        """In a notebook: a row a modality."""
        rows = [
            [
                name,
                sizes(x.shape[1:]),
                str(x.dtype).removeprefix("torch."),
                span(x if there is None else x[there]),
                str(len(x) if there is None else int(there.sum())),
            ]
            for name, x, there in zip(self.inputs, self.inputs.values(), self._there, strict=True)
        ]
        label = "no labels" if self.label is None else f"labels {span(self.label)}"
        caption = f"Batch of {len(self)}, {label}"
        header = ["modality", "shape", "type", "values", "present"]
        return html_table(Words(header, rows), caption)

    @property
    def _there(self) -> Sequence[Tensor | None]:
        """Of each modality the samples that have it, booleans (B,); None where all do."""
        return [None] * len(self.inputs) if self.present is None else self.present.unbind(-1)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=non_blocking)

        inputs = {name: x.to(device, non_blocking=non_blocking) for name, x in self.inputs.items()}
        return Batch(inputs, move(self.present), move(self.label))
