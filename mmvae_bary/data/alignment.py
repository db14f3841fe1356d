"""Which rows of several tables are one sample, and which modalities a sample lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from mmvae_bary.data.reading import Table, named, numbers, read_table, rows_there

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]


class Aligned(NamedTuple):
    """Tables whose rows are the same samples.

    Attributes:
        inputs: Modality name to numbers of shape ``(N, ...)``, dense or sparse; zeros where the
            modality is missing.
        present: Which modalities a sample has, of shape ``(N, M)``.
        samples: What each sample is called, of shape ``(N,)``; None where they have no names.
        columns: Modality name to what its columns are called; empty where they have no names.
    """

    inputs: dict[str, Any]
    present: Flags
    samples: NDArray[Any] | None
    columns: dict[str, list[str]]


def align(modalities: Mapping[str, Any], index: str | None, present: Any = None) -> Aligned:
    """Read tables and put their rows in one order.

    By position all tables have as many rows; by name a sample is whatever any table has, in the
    order in which the names come.

    Args:
        modalities: Modality name to a table; see :func:`~mmvae_bary.data.reading.read_table`.
        index: Name of the column that rows are aligned by; by position if None.
        present: As in :class:`~mmvae_bary.data.ArrayDataModule`.

    Raises:
        ValueError: If tables differ in length, only some have names, a mask has a wrong shape, a
            row is NaN in part or infinite, or a sample has nothing.
    """
    tables = {name: read_table(name, given, index) for name, given in modalities.items()}
    values = {name: numbers(name, table) for name, table in tables.items()}
    samples = _samples(tables)
    if samples is None:
        lengths = {name: x.shape[0] for name, x in values.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"got tables of different lengths, {lengths} rows, expected one length, or index= "
                "with the name of a column to align them by"
            )
    size = next(iter(values.values())).shape[0] if samples is None else len(samples)
    asked = _mask(present, (size, len(tables)), list(modalities), index, samples)
    inputs, here = {}, []
    for flags, (name, table) in zip(asked.T, tables.items(), strict=True):
        full, known = values[name], flags
        if samples is not None:
            places = places_of(table.names, samples)
            full, known = _reindexed(full, places), flags & (places >= 0)
        inputs[name], there = rows_there(name, full, known, samples)
        here.append(there)
    flags = np.stack(here, 1)
    if not (some := flags.any(1)).all():
        empty = named(np.flatnonzero(~some), samples)
        raise ValueError(
            f"got no modality at all in {empty}, expected at least one of {list(modalities)} in "
            "each"
        )
    columns = {name: [str(c) for c in table.columns] for name, table in tables.items()}
    return Aligned(inputs, flags, samples, columns)


def aligned_rows(what: str, given: Any, index: str | None, samples: Any, size: int) -> Table:
    """A table with one row for each sample, such as labels, in the samples' order.

    Raises:
        ValueError: If it has another number of rows, or none for one of the samples.
    """
    by_name = index if hasattr(given, "to_numpy") or isinstance(given, (str, Path)) else None
    table = read_table(what, given, by_name)
    if table.names is None and samples is not None:
        raise ValueError(
            f"{what}: got rows without names for samples that have some, expected a table with "
            f"{index!r} in it"
        )
    if table.names is None:
        if len(table.values) != size:
            raise ValueError(f"{what}: got {len(table.values)} rows, expected {size}")
        return table
    places = places_of(table.names, samples)
    if (missing := places < 0).any():
        raise ValueError(
            f"{what}: got none for {index} {str(samples[missing][0])!r}, expected one for each of "
            f"the {size} samples, or {what}=None"
        )
    return table._replace(values=table.values[places], names=None)


def places_of(names: Any, samples: Any) -> NDArray[np.int64]:
    """Where each sample stands among names; -1 where it does not."""
    place = {name: row for row, name in enumerate(names)}
    return np.array([place.get(name, -1) for name in samples], dtype=np.int64)


def _samples(tables: Mapping[str, Table]) -> NDArray[Any] | None:
    named_rows = {name: table.names is not None for name, table in tables.items()}
    if not any(named_rows.values()):
        return None
    if not all(named_rows.values()):
        raise ValueError(
            f"got tables whose rows have names and others, {named_rows}, expected all or none"
        )
    names = dict.fromkeys(name for table in tables.values() for name in table.names)  # type: ignore[union-attr]
    return np.array(list(names), dtype=object)


def _reindexed(values: Any, places: NDArray[np.int64]) -> Any:
    """Rows at places; zeros where a place is -1."""
    if sparse.issparse(values):
        nothing = sparse.csr_array((1, values.shape[1]), dtype=values.dtype)
        return sparse.vstack([values, nothing], format="csr")[places]
    known = places >= 0
    result = np.zeros((len(places), *values.shape[1:]), dtype=values.dtype)
    result[known] = values[places[known]]
    return result


def _mask(
    present: Any,
    shape: tuple[int, int],
    names: list[str],
    index: str | None,
    samples: NDArray[Any] | None,
) -> Flags:
    """What the user says of who has what, of shape ``(N, M)``."""
    if present is None:
        return np.ones(shape, dtype=bool)
    if samples is not None or hasattr(present, "columns") or isinstance(present, (str, Path)):
        table = aligned_rows("present", present, index, samples, shape[0])
        named_columns = {str(c): table.values[:, at] for at, c in enumerate(table.columns)}
        present = named_columns or table.values
    if isinstance(present, Mapping):
        if unknown := [name for name in present if name not in names]:
            raise ValueError(f"present: got {unknown}, expected some of {names}")
        columns = {name: np.asarray(flags) for name, flags in present.items()}
        for name, flags in columns.items():
            _check_mask(f"present[{name!r}]", flags, shape[:1])
        all_there = np.ones(shape[0], dtype=bool)
        return np.stack([columns.get(name, all_there) for name in names], 1)
    flags = np.asarray(present)
    _check_mask("present", flags, shape)
    return flags


def _check_mask(what: str, flags: NDArray[Any], shape: tuple[int, ...]) -> None:
    if flags.shape != shape or flags.dtype != np.bool_:
        raise ValueError(
            f"{what}: got {flags.dtype} of shape {flags.shape}, expected bool of shape {shape}"
        )
