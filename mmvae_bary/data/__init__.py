"""Data modules: one per benchmark, and one for your own data, over one base."""

from mmvae_bary.data.arrays import ArrayDataModule, ArrayTuples, SparseRows
from mmvae_bary.data.base import (
    BatchIndices,
    BatchLoader,
    MultimodalDataModule,
    StoredTuples,
    TupleDataset,
)
from mmvae_bary.data.celeba import CelebADataModule
from mmvae_bary.data.digits import DigitsDataModule
from mmvae_bary.data.files import FileDataModule
from mmvae_bary.data.mnist_svhn_text import MNISTSVHNTextDataModule
from mmvae_bary.data.omics import MuDataModule
from mmvae_bary.data.polymnist import PolyMNISTDataModule

__all__ = [
    "ArrayDataModule",
    "ArrayTuples",
    "BatchIndices",
    "BatchLoader",
    "CelebADataModule",
    "DigitsDataModule",
    "FileDataModule",
    "MNISTSVHNTextDataModule",
    "MuDataModule",
    "MultimodalDataModule",
    "PolyMNISTDataModule",
    "SparseRows",
    "StoredTuples",
    "TupleDataset",
]
