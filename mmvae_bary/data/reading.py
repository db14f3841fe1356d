"""Reading a modality of one's own, whatever it comes as, and checking that it is numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN = 5  # rows or columns that an error names


class Table(NamedTuple):
    """What a modality, a label or a mask came as.

    Attributes:
        values: Shape ``(N, ...)``, a NumPy array or a sparse one in rows.
        names: What each row is called, shape ``(N,)``; None where rows are known by position.
        columns: What columns are called; none where they are known by position.
    """

    values: Any
    names: NDArray[Any] | None
    columns: Sequence[Hashable]


def read_table(name: str, given: Any, index: str | None) -> Table:
    """Read a modality from an array, a tensor, a frame, a sparse matrix or a file of such.

    Args:
        name: What errors call it.
        given: NumPy array, tensor, pandas frame or series, SciPy sparse matrix, AnnData, whose
            rows always have names, or the path of an ``.npy``, ``.npz``, ``.csv`` or ``.parquet``
            file, ``FILE.npz:NAME`` of one array among several.
        index: Name of a frame's column, or of its index, that rows are aligned by; None to align
            them by position.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it is nothing of these.
        ValueError: If a file does not hold what its name says, or the index is not to be had.
    """
    if isinstance(given, (str, Path)):
        given = _read_file(name, str(given))
    if isinstance(given, Tensor):
        given = given.detach().cpu().numpy()
    if hasattr(given, "obs_names"):
        return _from_anndata(name, given)
    if hasattr(given, "to_numpy"):  # a series has no columns yet
        frame = given if hasattr(given, "columns") else given.to_frame()
        return _from_frame(name, frame, index)
    if index is not None:
        raise ValueError(
            f"{name}: got a {type(given).__name__}, which has no column {index!r}, expected a "
            "pandas frame, or index=None to align rows by position"
        )
    if sparse.issparse(given):
        return Table(sparse.csr_array(given), None, ())
    if not isinstance(given, (np.ndarray, Sequence)):
        raise TypeError(
            f"{name}: got a {type(given).__name__}, expected an array, a tensor, a frame, a "
            "sparse matrix or the path of a file"
        )
    return Table(np.asarray(given), None, ())


def numbers(name: str, table: Table) -> Any:
    """The values of a modality as floats, dense or sparse, each a number or missing.

    Raises:
        ValueError: If one is not a number, or infinite, or a sample has no values.
    """
    values = table.values
    if values.dtype.kind not in "biuf" and (wrong := _not_numbers(table)):
        raise ValueError(f"{name}: got {wrong}, expected numbers")
    if values.ndim < 2 or 0 in values.shape:
        raise ValueError(
            f"{name}: got shape {tuple(values.shape)}, expected (N, ...) with at least one row "
            "and one value in it"
        )
    values = values.astype(np.float32)
    stored = values.data if sparse.issparse(values) else values
    if np.isinf(stored).any():
        rows = _rows_of(values, np.isinf)
        raise ValueError(f"{name}: got infinite values in {named(rows)}, expected finite ones")
    if sparse.issparse(values) and np.isnan(stored).any():
        rows = _rows_of(values, np.isnan)
        raise ValueError(f"{name}: got NaN in {named(rows)} of a sparse matrix, expected none")
    return values


def without_empty_rows(name: str, values: Any) -> tuple[Any, NDArray[np.bool_]]:
    """Values with zeros in rows that are all NaN, and which rows are there.

    Raises:
        ValueError: If a row is NaN in part.
    """
    if sparse.issparse(values):
        return values, np.ones(values.shape[0], dtype=bool)
    unknown = np.isnan(values).reshape(len(values), -1)
    empty = unknown.all(1)
    if (partly := unknown.any(1) & ~empty).any():
        raise ValueError(
            f"{name}: got NaN inside {named(np.flatnonzero(partly))}, expected a row to be "
            "there whole, or NaN throughout where the modality is missing"
        )
    if empty.any():
        values = np.where(empty.reshape(-1, *[1] * (values.ndim - 1)), np.float32(0), values)
    return values, ~empty


def named(rows: NDArray[np.int64]) -> str:
    """How an error names rows: all of a few, else the first ones and how many there are.

    Example:
        >>> named(np.array([4])), named(np.arange(8))
        ('row 4', 'rows 0, 1, 2, 3, 4 and 3 more')
    """
    shown = ", ".join(map(str, rows[:SHOWN]))
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"


def _rows_of(values: Any, wrong: Any) -> NDArray[np.int64]:
    if sparse.issparse(values):
        return np.unique(values.tocoo().coords[0][wrong(values.tocoo().data)])
    return np.flatnonzero(wrong(values).reshape(len(values), -1).any(1))


def _not_numbers(table: Table) -> str:
    """An example of what is no number, and where it stands; empty if all are, or are missing."""
    values = table.values
    if values.ndim != 2 or values.dtype.kind != "O":
        return f"values of type {values.dtype}"
    for (row, place), value in np.ndenumerate(values):
        if value is not None and not isinstance(value, (int, float, np.number)):
            column = table.columns[place] if len(table.columns) else place
            return f"{str(value)!r} in column {column!r}, row {row}"
    return ""


def _from_frame(name: str, frame: Any, index: str | None) -> Table:
    if index is None:
        return Table(frame.to_numpy(), None, list(frame.columns))
    if index in frame.columns:
        frame = frame.set_index(index)
    elif frame.index.name != index:
        raise ValueError(
            f"{name}: got no column {index!r} to align rows by, expected one among "
            f"{[str(column) for column in frame.columns[:SHOWN]]}"
        )
    _check_unique(name, index, frame.index)
    return Table(frame.to_numpy(), frame.index.to_numpy(), list(frame.columns))


def _from_anndata(name: str, given: Any) -> Table:
    names = given.obs_names
    _check_unique(name, "cell", names)
    values = sparse.csr_array(given.X) if sparse.issparse(given.X) else np.asarray(given.X)
    return Table(values, names.to_numpy(), list(given.var_names))


def _check_unique(name: str, index: str, names: Any) -> None:
    repeated = names[names.duplicated()]
    if len(repeated):
        raise ValueError(
            f"{name}: got {index} {str(repeated[0])!r} more than once, expected a row for each"
        )


def _read_file(name: str, path: str) -> Any:
    file, _, member = path.partition(":") if ".npz:" in path else (path, "", "")
    if not Path(file).is_file():
        raise FileNotFoundError(f"{name}: got {file!r}, which is no file, expected one")
    suffix = Path(file).suffix
    readers: Mapping[str, Any] = {
        ".npy": lambda: np.load(file),
        ".npz": lambda: _read_npz(name, file, member),
        ".csv": lambda: _pandas(name).read_csv(file),
        ".parquet": lambda: _pandas(name).read_parquet(file),
    }
    if suffix not in readers:
        raise ValueError(f"{name}: got a {suffix!r} file, expected one of {list(readers)}")
    return readers[suffix]()


def _read_npz(name: str, file: str, member: str) -> Any:
    with np.load(file) as archive:
        members = list(archive)
        if "indptr" in members and not member:
            return sparse.load_npz(file)
        if not member and len(members) == 1:
            member = members[0]
        if member not in members:
            raise ValueError(
                f"{name}: got {member!r} of {file}, expected one of its arrays, "
                f"{file}:NAME with NAME among {members}"
            )
        return archive[member]


def _pandas(name: str) -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise ImportError(
            f"{name}: got a file that takes pandas, expected pip install 'mmvae-bary[tables]'"
        ) from None
    return pd
