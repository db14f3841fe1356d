"""Single cells as MuData or AnnData hold them: modalities with cells of their own, and layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmvae_bary.data.alignment import places_of
from mmvae_bary.data.arrays import ArrayDataModule
from mmvae_bary.data.missing import Missing
from mmvae_bary.data.reading import package

if TYPE_CHECKING:
    from torch import Tensor


CELL = "obs_names"  # what rows are called where labels are aligned with them


class MuDataModule(ArrayDataModule):
    """Modalities of a MuData object or file, cells aligned by their names.

    A cell that only some modalities have lacks the others. Raw counts are taken where they are:
    ``X``, or the layer named. Takes ``pip install 'mmvae-bary[omics]'``.

    Args:
        mudata: A ``MuData`` object, or the path of an ``.h5mu`` file.
        modalities: Those to take, in the model's order; all if None.
        layers: Name of a modality to the layer to take instead of ``X``.
        label: Column of ``obs`` with a class for each cell; None without labels.
        split: Column of ``obs`` with ``"train"``, ``"validation"`` or ``"test"``; drawn if None.
        validation_share: As in :class:`ArrayDataModule`, like what follows.
        test_share: Share of the cells drawn for the test.
        kinds: Name of a modality to the kind of its numbers.
        standardize: Modalities to standardise.
        batch_size: Training cells in a batch.
        eval_batch_size: Validation and test cells in a batch.
        seed: Seed of the split.
        cache: Folder for what is learned from the data.
        drop_incomplete: Train on those cells alone that lack nothing.
        missing: What training is to do without besides; see :class:`MultimodalDataModule`.

    Raises:
        ValueError: When set up: an unknown modality, layer or column, by name; and as
            :class:`ArrayDataModule`.
    """

    def __init__(
        self,
        mudata: Any,
        modalities: Sequence[str] | None = None,
        layers: Mapping[str, str] | None = None,
        label: str | None = None,
        split: str | None = None,
        validation_share: float = 0.1,
        test_share: float = 0.2,
        kinds: Mapping[str, str] | None = None,
        standardize: Sequence[str] | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        seed: int = 0,
        cache: str = "data",
        drop_incomplete: bool = False,
        missing: Missing = 0.0,
    ) -> None:
        if isinstance(mudata, (str, Path)):
            mudata = package("MuDataModule", "mudata", "omics").read_h5mu(mudata)
        self.mudata = mudata
        known = list(self.mudata.mod)
        names = known if modalities is None else list(modalities)
        if unknown := [name for name in [*names, *(layers or {})] if name not in known]:
            raise ValueError(f"modalities: got {unknown}, expected some of {known}")
        layers = layers or {}
        super().__init__(
            {name: _matrix(self.mudata.mod[name], name, layers.get(name)) for name in names},
            label=self._column("label", label),
            index=CELL,
            split=self._column("split", split),
            validation_share=validation_share,
            test_share=test_share,
            kinds=kinds,
            standardize=standardize,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
            cache=cache,
            drop_incomplete=drop_incomplete,
            missing=missing,
        )

    def store(self, embedding: Tensor, key: str = "X_mmvae") -> None:
        """Put an embedding into ``obsm`` of the MuData object, its cells in their order.

        Cells that none of the modalities taken has are NaN.

        Args:
            embedding: A row for each cell, as ``model.embed(data).mean`` has them.
            key: What to call it there.

        Raises:
            ValueError: If the number of rows is not that of cells.
        """
        if self.samples is None or len(embedding) != len(self.samples):
            cells = 0 if self.samples is None else len(self.samples)
            raise ValueError(f"got {len(embedding)} rows, expected one for each of {cells} cells")
        places = places_of(self.samples, self.mudata.obs_names)
        stored = np.full((len(places), embedding.shape[1]), np.nan, dtype=np.float32)
        stored[places >= 0] = embedding.float().cpu().numpy()[places[places >= 0]]
        self.mudata.obsm[key] = stored

    def _column(self, what: str, name: str | None) -> Any:
        if name is None:
            return None
        obs = self.mudata.obs
        if name not in obs.columns:
            raise ValueError(
                f"{what}: got {name!r}, expected a column of obs, which has {list(obs.columns)}"
            )
        return obs[[name]].rename_axis(CELL)


def _matrix(modality: Any, name: str, layer: str | None) -> Any:
    """An AnnData of the matrix to take alone, which is a table whose rows have names."""
    if layer is None:
        return modality
    if layer not in modality.layers:
        raise ValueError(
            f"layers: got {layer!r} for {name!r}, expected one of {list(modality.layers)}"
        )
    return type(modality)(modality.layers[layer], obs=modality.obs[[]], var=modality.var[[]])
