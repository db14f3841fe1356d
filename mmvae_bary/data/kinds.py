"""What kind of numbers a modality is made of, which decides its likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from scipy import sparse

from mmvae_bary.data.reading import named
from mmvae_bary.likelihoods import (
    Bernoulli,
    Categorical,
    Likelihood,
    NegativeBinomial,
    Normal,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST = 16  # rows that tell of most kinds that they are not it, before all are looked at
KindName = Literal["real", "binary", "counts", "one-hot"]


class Kind(NamedTuple):
    """A kind of numbers.

    Attributes:
        holds: Whether values are of this kind, asked of a dense or sparse array.
        expected: What its values are, as an error says it.
        likelihood: Its likelihood by default.
        settings: From the shape of a sample to what the likelihood is told.
    """

    holds: Callable[[Any], bool]
    expected: str
    likelihood: type[Likelihood]
    settings: Callable[[Sequence[int]], dict[str, Any]] = lambda shape: {}


def _stored(values: Any) -> Any:
    """What stands in an array; of a sparse one zeros are left out."""
    return values.data if sparse.issparse(values) else values


def _is_binary(values: Any) -> bool:
    stored = _stored(values)
    return bool(((stored == 0) | (stored == 1)).all())


def _is_one_hot(values: Any) -> bool:
    several = values.ndim > 1 and values.shape[-1] > 1
    return several and _is_binary(values) and bool((values.sum(-1) == 1).all())


def _is_counts(values: Any) -> bool:
    stored = _stored(values)
    return bool(((stored >= 0) & (stored == np.floor(stored))).all())


# from the narrowest to the widest: the first that holds is the one
KINDS: Mapping[str, Kind] = {
    "one-hot": Kind(_is_one_hot, "one 1 among zeros along the last dimension", Categorical),
    "binary": Kind(_is_binary, "zeros and ones", Bernoulli),
    "counts": Kind(
        _is_counts,
        "whole numbers, none negative",
        NegativeBinomial,
        lambda shape: {"shape": list(shape)},  # a dispersion for each variable
    ),
    "real": Kind(lambda values: True, "any numbers", Normal, lambda shape: {"learnable": True}),
}


def kind_of(
    name: str,
    values: Any,
    there: NDArray[np.bool_],
    asked: str | None = None,
    samples: NDArray[Any] | None = None,
) -> str:
    """The kind of a modality's values: the one asked for, or the narrowest that holds.

    Args:
        name: What errors call the modality.
        values: Shape ``(N, ...)``, dense or sparse.
        there: Booleans of shape ``(N,)``: which rows to look at.
        asked: A name of :data:`KINDS`, or None.
        samples: What rows are called.

    Raises:
        ValueError: If the kind asked for is unknown, or the values are not of it.
    """
    known = values if there.all() else values[there]
    if asked is None:
        first = known[:FIRST]
        return next(k for k, kind in KINDS.items() if kind.holds(first) and kind.holds(known))
    if asked not in KINDS:
        raise ValueError(f"{name}: got kind {asked!r}, expected one of {get_args(KindName)}")
    kind = KINDS[asked]
    if not kind.holds(known):
        row = np.flatnonzero(there)[[_first_wrong(kind, known)]]
        wrong = values[row].toarray() if sparse.issparse(values) else values[row]
        raise ValueError(
            f"{name}: got values from {wrong.min():g} to {wrong.max():g} in "
            f"{named(row, samples)}, which are not of kind {asked!r}, expected {kind.expected}"
        )
    return asked


def _first_wrong(kind: Kind, values: Any) -> int:
    """The first row that is not of a kind."""
    first, size = 0, values.shape[0]
    while size > 1:
        half = size // 2
        if kind.holds(values[first : first + half]):
            first, size = first + half, size - half
        else:
            size = half
    return first
