"""What a model is given: its modalities and its batches, checked before time is spent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from mmvae_bary.batch import Batch
from mmvae_bary.checks import check_at_least
from mmvae_bary.modality import Modality

if TYPE_CHECKING:
    from typing import TypeAlias

Inputs: TypeAlias = "Batch | Mapping[str, Any]"
Data: TypeAlias = "LightningDataModule | Inputs | Iterable[Inputs]"
ROWS = 1024  # of a dictionary of tensors that are embedded at once
SEPARATORS = ("+", "->", "/", ".")
RESERVED = ("", "mean")  # a figure's key is coherence/mean


def as_batch(inputs: Inputs, like: Tensor) -> Batch:
    """What a model's methods are given, as a batch on its device.

    Args:
        inputs: A batch, or modality name to a tensor or array ``(B, *shape)`` in the model's
            scale, in which a row that is NaN throughout is missing.
        like: A parameter, whose device the batch gets, and what was a dictionary its type.

    Raises:
        TypeError: If it is something else, or a modality is no tensor of floating-point numbers.
        ValueError: If there is no modality, their sizes differ, or NaN stands inside a row.
    """
    if isinstance(inputs, Batch):
        return inputs.to(like.device)
    if not isinstance(inputs, Mapping):
        raise TypeError(
            f"got a {type(inputs).__name__}, expected a Batch, or modality name to a tensor"
        )
    if not inputs:
        raise ValueError("got no modality, expected at least one")
    tensors = {name: _tensor(name, x).to(like) for name, x in inputs.items()}
    _check_sizes(tensors)
    there = torch.stack([_there(name, x) for name, x in tensors.items()], -1)
    return Batch(tensors, None if there.all() else there)


def batches(data: Data, like: Tensor) -> Iterator[Batch]:
    """The batches of whatever is to be embedded or imputed, in order, on the model's device."""
    parts: Iterable[Inputs]
    if isinstance(data, LightningDataModule):
        data.prepare_data()
        data.setup("predict")
        parts = data.predict_dataloader()
    elif isinstance(data, Batch):
        parts = [data]
    elif isinstance(data, Mapping):
        whole = as_batch(data, like)
        rows = torch.arange(len(whole), device=like.device)
        parts = (whole[part] for part in rows.split(ROWS))
    else:
        parts = data
    for part in parts:
        yield as_batch(part, like)


def check_names(modalities: Mapping[str, Modality]) -> None:
    """Refuse modalities that are none, or whose names would break a figure's key."""
    if not isinstance(modalities, Mapping):
        raise TypeError(
            f"got modalities of type {type(modalities).__name__}, expected a dictionary of them"
        )
    if not modalities:
        raise ValueError("got no modalities, expected at least one")
    for name, modality in modalities.items():
        if not isinstance(modality, Modality):
            raise TypeError(
                f"modality {name!r}: got {type(modality).__name__}, expected a Modality"
            )
        separated = any(sign in name for sign in SEPARATORS)
        if separated or name in RESERVED or hasattr(nn.ModuleDict, name):
            raise ValueError(
                f"got the modality name {name!r}, expected one without {' '.join(SEPARATORS)} "
                f"that is none of {RESERVED} and no attribute of torch.nn.ModuleDict"
            )


def check_numbers(latent_dim: int, beta: float, warmup_steps: int) -> None:
    """Refuse numbers that no model has."""
    check_at_least(1, latent_dim=latent_dim)
    check_at_least(0, warmup_steps=warmup_steps)
    if not isinstance(latent_dim, int):
        raise ValueError(f"got latent_dim={latent_dim}, expected a whole number")
    if not 0 <= beta < math.inf:
        raise ValueError(f"got beta={beta}, expected a finite number that is not negative")


def weights_of(
    given: dict[str, float] | Literal["size"], modalities: Mapping[str, Modality]
) -> dict[str, float]:
    """Modality name to the weight of its log-likelihood."""
    if given == "size":
        sizes = {name: m.likelihood.num_variables(m.shape) for name, m in modalities.items()}
        return {name: max(sizes.values()) / size for name, size in sizes.items()}
    if isinstance(given, str) or set(given) != set(modalities):
        raise ValueError(
            f"reconstruction_weights: got {given!r}, expected 'size' or a number for each of "
            f"{list(modalities)}"
        )
    if any(not 0 <= weight < math.inf for weight in given.values()) or not any(given.values()):
        raise ValueError(
            f"reconstruction_weights: got {given}, expected finite numbers, none negative and "
            "at least one above zero"
        )
    return dict(given)


def check_known(names: Sequence[str], argument: str, modalities: Iterable[str]) -> Sequence[str]:
    """Refuse names that are none of the modalities'."""
    if isinstance(names, str):
        raise ValueError(f"got {argument}={names!r}, expected a sequence of names")
    expected = list(modalities)
    if unknown := [name for name in names if name not in expected]:
        raise ValueError(
            f"{argument}: got unknown modality {', '.join(map(repr, unknown))}, expected "
            f"names from {expected}"
        )
    return names


def check_inputs(inputs: Mapping[str, Tensor], modalities: Mapping[str, Modality]) -> int:
    """The number of samples, once every tensor is what its modality takes."""
    if not check_known(list(inputs), "inputs", modalities.keys()):  # as torch 2.6 compiles it
        raise ValueError(f"got no modality, expected at least one of {list(modalities)}")
    for name, x in inputs.items():
        shape = modalities[name].shape
        _check_floating(name, x)
        if tuple(x.shape[1:]) != shape:
            expected = ", ".join(map(str, ("B", *shape)))
            raise ValueError(
                f"modality {name!r}: got a tensor of shape {tuple(x.shape)}, expected ({expected})"
            )
    return _check_sizes(inputs)


def check_present(present: Tensor, shape: tuple[int, int]) -> None:
    """Refuse a mask of another type or shape than ``(B, M)``."""
    if tuple(present.shape) != shape or present.dtype != torch.bool:
        raise ValueError(
            f"present: got {present.dtype} of shape {tuple(present.shape)}, expected torch.bool "
            f"of shape {shape}: a row a sample, a column a modality"
        )


def presence(batch: Batch) -> dict[str, Tensor] | None:
    """Modality name to booleans ``(B,)``; None where nothing is missing."""
    if batch.present is None:
        return None
    check_present(batch.present, (len(batch), len(batch.inputs)))
    return dict(zip(batch.inputs, batch.present.unbind(-1), strict=True))


def without_absent(batch: Batch) -> Batch:
    """The batch with zeros where a modality is missing, whatever stood there."""
    present = presence(batch)
    if present is None:
        return batch

    def keep(name: str, x: Tensor) -> Tensor:
        return torch.where(present[name].reshape(-1, *[1] * (x.ndim - 1)), x, 0)

    inputs = {name: keep(name, x) for name, x in batch.inputs.items()}
    return Batch(inputs, batch.present, batch.label)


def _there(name: str, x: Tensor) -> Tensor:
    """Which rows are not NaN throughout, ``(B,)``."""
    unknown = x.reshape(len(x), -1).isnan()
    there = ~unknown.all(-1)
    if (broken := unknown.any(-1) & there).any():
        raise ValueError(
            f"modality {name!r}: got NaN inside row {int(broken.nonzero()[0])}, expected numbers, "
            "or a row of NaN where it is missing"
        )
    return there


def _check_sizes(inputs: Mapping[str, Tensor]) -> int:
    sizes = {name: len(x) if x.ndim else 0 for name, x in inputs.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"got batches of different sizes, {sizes}, expected one size")
    return next(iter(sizes.values()))


def _tensor(name: str, x: Any) -> Tensor:
    with suppress(TypeError, ValueError, RuntimeError):  # told of below
        x = torch.as_tensor(x)
    _check_floating(name, x)
    tensor: Tensor = x
    return tensor


def _check_floating(name: str, x: Any) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            f"modality {name!r}: got {kind}, expected a tensor of floating-point numbers"
        )
