"""Data modules: one per benchmark, over one base."""

from mmvae_bary.data.base import (
    BatchIndices,
    BatchLoader,
    MultimodalDataModule,
    StoredTuples,
    TupleDataset,
)
from mmvae_bary.data.digits import DigitsDataModule

__all__ = [
    "BatchIndices",
    "BatchLoader",
    "DigitsDataModule",
    "MultimodalDataModule",
    "StoredTuples",
    "TupleDataset",
]
