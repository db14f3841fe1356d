"""Reading a modality of one's own, whatever it comes as, and checking that it is numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from scipy import sparse
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

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
            rows always have names, or the path of an ``.npy``, ``.npz``, ``.csv``, ``.tsv``,
            ``.parquet`` or ``.h5ad`` file, ``FILE.npz:NAME`` of one array among several.
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
    return Table(_from_rows(name, given), None, ())


def _from_rows(name: str, given: Any) -> np.ndarray[Any, Any]:
    if not isinstance(given, (np.ndarray, Sequence)):
        raise TypeError(
            f"{name}: got a {type(given).__name__}, expected an array, a tensor, a frame, a "
            "sparse matrix or the path of a file"
        )
    try:
        return np.asarray(given)
    except ValueError:
        raise ValueError(f"{name}: got rows of different lengths, expected one") from None


def numbers(name: str, table: Table) -> Any:
    """The values of a modality as floats, dense or sparse; NaN where there is none.

    In float32 where that holds what came, else in float64; not a copy where nothing changes.

    Raises:
        ValueError: If one is not a number, or a sample has no values.
    """
    values = table.values
    if values.dtype.kind not in "biuf":
        if wrong := _not_numbers(table):
            raise ValueError(f"{name}: got {wrong}, expected numbers")
        values = values.astype(np.float64)
    if values.ndim < 2 or 0 in values.shape:
        raise ValueError(
            f"{name}: got shape {tuple(values.shape)}, expected (N, ...) with at least one row "
            "and one value in it"
        )
    dtype = np.result_type(values.dtype, np.float32)
    # torch wants to be able to write
    if sparse.issparse(values):
        parts = (values.data, values.indices, values.indptr)
        return values.astype(dtype, copy=not all(part.flags.writeable for part in parts))
    return np.require(values, dtype, ["C_CONTIGUOUS", "WRITEABLE"])


def rows_there(
    name: str, values: Any, asked: NDArray[np.bool_], samples: NDArray[Any] | None = None
) -> tuple[Any, NDArray[np.bool_]]:
    """Which rows are there, and the values with zeros in the others.

    Args:
        name: What errors call the modality.
        values: Shape ``(N, ...)``, dense or sparse.
        asked: Booleans of shape ``(N,)``: false where nobody looks at what stands in a row.
        samples: What rows are called.

    Raises:
        ValueError: If a row that is asked for is NaN in part, or infinite, or if none is there.
    """
    unknown = _count(values, np.isnan)
    there = asked & (unknown < np.prod(values.shape[1:]))
    if (partly := there & (unknown > 0)).any():
        raise ValueError(
            f"{name}: got NaN inside {named(np.flatnonzero(partly), samples)}, expected a row to "
            "be there whole, or NaN throughout where the modality is missing"
        )
    if (infinite := there & (_count(values, np.isinf) > 0)).any():
        raise ValueError(
            f"{name}: got infinite values in {named(np.flatnonzero(infinite), samples)}, expected "
            "finite ones"
        )
    if not there.any():
        raise ValueError(f"{name}: got no row with values, expected some: leave it out")
    if there.all():
        return values, there
    if sparse.issparse(values):
        return sparse.csr_array(sparse.diags_array(there.astype(values.dtype)) @ values), there
    return np.where(there.reshape(-1, *[1] * (values.ndim - 1)), values, 0), there


def named(rows: NDArray[np.int64], samples: NDArray[Any] | None = None) -> str:
    """How an error names rows: all of a few, else the first ones and how many there are.

    Example:
        >>> named(np.array([4])), named(np.arange(8))
        ('row 4', 'rows 0, 1, 2, 3, 4 and 3 more')
    """
    known = rows[:SHOWN] if samples is None else samples[rows[:SHOWN]]
    what = "row" if samples is None else "sample"
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"{what}{'s' if len(rows) > 1 else ''} {', '.join(map(str, known))}{more}"


def _count(values: Any, wrong: Any) -> NDArray[np.int64]:
    """How many values of each row are wrong."""
    if sparse.issparse(values):
        entries = values.tocoo()
        rows = entries.coords[0][wrong(entries.data)]
        return np.bincount(rows, minlength=values.shape[0])
    counts: NDArray[np.int64] = wrong(values).reshape(len(values), -1).sum(1)
    return counts


def _not_numbers(table: Table) -> str:
    """An example of what is no number, and where it stands; empty if all are, or are missing."""
    values = table.values
    if values.ndim != 2 or values.dtype.kind != "O":
        return f"values of type {values.dtype}"
    for (row, place), value in np.ndenumerate(values):
        if not _is_number(value):
            column = table.columns[place] if len(table.columns) else place
            named = len(table.columns) and table.names is None
            hint = f" (index={column!r} aligns rows by it)" if named else ""
            return f"{str(value)!r} in column {column!r}, row {row}{hint}"
    return ""


def _is_number(value: Any) -> bool:
    """Whether it stands for a number or none; in a column with a word, numbers are text too."""
    try:
        float(0 if value is None else value)
    except (TypeError, ValueError):
        return False
    return True


def _from_frame(name: str, frame: Any, index: str | None) -> Table:
    if index is None:
        return Table(_values(frame), None, list(frame.columns))
    if index in frame.columns:
        frame = frame.set_index(index)
    elif frame.index.name != index:
        raise ValueError(
            f"{name}: got no column {index!r} to align rows by, expected one among "
            f"{[str(column) for column in frame.columns[:SHOWN]]}"
        )
    _check_unique(name, index, frame.index)
    return Table(_values(frame), frame.index.to_numpy(), list(frame.columns))


def _values(frame: Any) -> NDArray[Any]:
    values: NDArray[Any] = frame.to_numpy()
    if values.dtype == object:  # nullable columns may be among them
        values = frame.to_numpy(dtype=object, na_value=np.nan)
    return values


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
        ".npz": lambda: np.load(file),
        ".csv": lambda: package(name, "pandas", "tables").read_csv(file),
        ".tsv": lambda: package(name, "pandas", "tables").read_csv(file, sep="\t"),
        ".parquet": lambda: package(name, "pandas", "tables").read_parquet(file),
        ".h5ad": lambda: package(name, "anndata", "omics").read_h5ad(file),
    }
    if suffix not in readers:
        raise ValueError(f"{name}: got a {suffix!r} file, expected one of {list(readers)}")
    with _readable(name, file):
        content = readers[suffix]()
    return _member(name, file, content, member) if suffix == ".npz" else content


def _member(name: str, file: str, archive: Any, member: str) -> Any:
    with archive:
        members = list(archive)
        if not member and len(members) == 1:
            member = members[0]
        is_sparse = "indptr" in members and not member
        if member not in members and not is_sparse:
            raise ValueError(
                f"{name}: got {member!r} of {file}, expected one of its arrays, "
                f"{file}:NAME with NAME among {members}"
            )
        with _readable(name, file):
            return sparse.load_npz(file) if is_sparse else archive[member]


@contextmanager
def _readable(name: str, file: str) -> Iterator[None]:
    """Say which file it is that a reader could make nothing of."""
    try:
        yield
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        kind, reason = Path(file).suffix, str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(
            f"{name}: got {file}, which cannot be read, expected a whole {kind} file ({reason})"
        ) from None


def package(name: str, module: str, extra: str) -> Any:
    """A package that a kind of file takes, which comes with an extra of this one.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise ImportError(
            f"{name}: got a file that takes {module}, expected pip install 'mmvae-bary[{extra}]'"
        ) from None
