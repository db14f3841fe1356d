"""What a prediction leaves: a file of latents and imputed modalities, written as it goes."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from mmvae_bary.callbacks.base import data_of, run_folder
from mmvae_bary.checks import check_one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

FileFormat = Literal["npz", "parquet"]
PREFIX = "imputed/"


class PredictionCallback(Callback):
    """Write what ``predict`` tells of each sample to ``predictions.npz`` or ``.parquet`` of a run.

    A row a sample, in the order of the data; what a column holds is said by the model's
    ``predict_step``, and imputed modalities are in the units of the data. Where samples have names
    they are in ``sample``. Batches are written as they come, so that what is predicted need not
    fit into memory.

    Args:
        file_format: ``"npz"``, an array a name, or ``"parquet"``, a column of lists a name, which
            takes ``pip install 'mmvae-bary[tables]'``.

    Raises:
        ValueError: If the format is neither, or, when predicting, if there are several processes.
    """

    def __init__(self, file_format: FileFormat = "npz") -> None:
        check_one_of(FileFormat, file_format=file_format)
        self.file_format = file_format
        self.writer: _Npz | _Parquet | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the file."""
        if trainer.world_size > 1:
            raise ValueError(
                f"predictions: got {trainer.world_size} processes, expected one, so that rows "
                "keep their order"
            )
        self.writer = None
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = run_folder(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"predictions.{self.file_format}"
        self.writer = (_Npz if self.file_format == "npz" else _Parquet)(path)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a batch."""
        if self.writer is None:
            return
        imputed = {key: x for key, x in outputs.items() if key.startswith(PREFIX)}
        named = {key.removeprefix(PREFIX): x for key, x in imputed.items()}
        original = {PREFIX + name: x for name, x in data_of(trainer).original(named).items()}
        arrays = {key: x.float().cpu().numpy() for key, x in {**outputs, **original}.items()}
        names = data_of(trainer).samples
        if names is not None:
            first = self.writer.rows
            arrays["sample"] = names[first : first + len(arrays["mean"])].astype(str)
        self.writer.write(arrays)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the file into its place."""
        if self.writer is None:
            return
        rank_zero_info(f"Predictions are in {self.writer.close()}")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave no half a file."""
        if self.writer is not None:
            self.writer.discard()


class _Npz:
    """Arrays that grow by rows, each in a file of its own until they are put into an archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts = path.with_suffix(".parts")
        shutil.rmtree(self.parts, ignore_errors=True)
        self.parts.mkdir()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.names: list[str] = []
        self.rows = 0

    def write(self, arrays: Arrays) -> None:
        numbers = {key: rows for key, rows in arrays.items() if key != "sample"}
        self.names += arrays["sample"].tolist() if "sample" in arrays else []
        for place, (key, rows) in enumerate(numbers.items()):
            self.shapes[key] = rows.shape[1:]
            with (self.parts / str(place)).open("ab") as file:
                file.write(np.ascontiguousarray(rows, dtype=np.float32).tobytes())
        self.rows += len(next(iter(numbers.values())))

    def close(self) -> Path:
        whole = self.parts / "whole"
        with zipfile.ZipFile(whole, "w", allowZip64=True) as archive:
            for place, (key, shape) in enumerate(self.shapes.items()):
                header = {"descr": "<f4", "fortran_order": False, "shape": (self.rows, *shape)}
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    with (self.parts / str(place)).open("rb") as file:
                        shutil.copyfileobj(file, member, 2**20)
            if self.names:
                with archive.open("sample.npy", "w") as member:
                    np.lib.format.write_array(member, np.array(self.names))
        whole.replace(self.path)
        self.discard()
        return self.path

    def discard(self) -> None:
        shutil.rmtree(self.parts, ignore_errors=True)


class _Parquet:
    """A row group a batch."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise ImportError(
                "predictions: a parquet file takes pyarrow, expected pip install "
                "'mmvae-bary[tables]'"
            ) from None
        self.arrow, self.parquet = pa, pq
        self.path = path
        self.part = path.with_suffix(".part")
        self.file: Any = None
        self.rows = 0

    def write(self, arrays: Arrays) -> None:
        table = self.arrow.table({key: self._column(x) for key, x in arrays.items()})
        if self.file is None:
            self.file = self.parquet.ParquetWriter(self.part, table.schema)
        self.file.write_table(table)
        self.rows += len(table)

    def _column(self, rows: NDArray[Any]) -> Any:
        if rows.ndim == 1:  # names
            return self.arrow.array(rows)
        flat = rows.reshape(len(rows), -1)
        return self.arrow.FixedSizeListArray.from_arrays(flat.ravel(), flat.shape[1])

    def close(self) -> Path:
        if self.file is not None:
            self.file.close()
            self.part.replace(self.path)
        return self.path

    def discard(self) -> None:
        if self.file is not None:
            self.file.close()
        self.part.unlink(missing_ok=True)
