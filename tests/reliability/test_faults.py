"""Full disks, read-only ones, too little memory, and losses that break."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmvae_bary import MWBVAE, ArrayDataModule, DigitsDataModule, cli
from mmvae_bary.callbacks import WholeCheckpointIO
from tests.conftest import LATENT_DIM, tiny_batch, tiny_modalities, trainer
from tests.reliability.conftest import Tally
from tests.test_cli import SHORT, runs, shortened

MIB = 2**20
pytestmark = pytest.mark.filterwarnings("ignore:the classifier of", "ignore:L-BFGS")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB, with less than one checkpoint's room left."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a disk is not allowed here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def mmvae(
    folder: Path, *arguments: str, memory: int | None = None
) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with so many bytes of memory."""

    def limit() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))

    return subprocess.run(
        [sys.executable, "-m", "mmvae_bary.cli", *arguments],
        capture_output=True, text=True, cwd=folder, check=False, preexec_fn=limit,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stderr
    last = done.stderr.strip().rpartition("\n")[2]
    assert last.startswith("mmvae: error: "), done.stderr[-2000:]
    assert all(word in last for word in words), last
    assert "Traceback" not in done.stderr


def fitting(tmp_path: Path) -> list[str]:
    config = shortened("digits.yaml", 5)
    cache = f"--data.init_args.cache={tmp_path / 'data'}"
    return ["fit", f"--config={tmp_path / config}", *SHORT, cache]


def test_a_full_disk_ends_a_run_with_a_line_and_no_half_checkpoint(
    tmp_path: Path, small_disk: Path, tally: Tally
) -> None:
    (small_disk / "other").write_bytes(bytes(3 * MIB))
    with tally("full and read-only disks said"):
        done = mmvae(small_disk, *fitting(tmp_path))
        refused(done, "No space left on device", ".ckpt")
        assert not list(small_disk.glob("runs/**/*.ckpt"))
        assert not list(small_disk.glob("**/*.part"))


def test_a_full_disk_leaves_the_checkpoint_that_was_there(small_disk: Path, tally: Tally) -> None:
    with tally("full and read-only disks said"):
        path, io = small_disk / "last.ckpt", WholeCheckpointIO()
        io.save_checkpoint({"step": 1}, path)
        with pytest.raises(OSError, match="No space left on device"):
            io.save_checkpoint({"step": 2, "weights": torch.zeros(3 * MIB)}, path)
        assert torch.load(path) == {"step": 1}
        assert list(small_disk.iterdir()) == [path]


def test_a_full_disk_leaves_no_half_data(small_disk: Path, real_data: Path, tally: Tally) -> None:
    with tally("full and read-only disks said"):
        options = ["--data.init_args.backgrounds=textures", f"--data.init_args.root={real_data}"]
        config = Path(shortened("polymnist.yaml", 5)).absolute()
        refused(mmvae(small_disk, "fit", f"--config={config}", *options), "No space left")
        left = [path for path in small_disk.glob("data/**/*") if path.suffix != ".lock"]
        assert not [path for path in left if path.is_file()]


def test_a_read_only_disk_is_said(tmp_path: Path, small_disk: Path, tally: Tally) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with tally("full and read-only disks said"):
        refused(mmvae(small_disk, *fitting(tmp_path)), "Read-only file system")


def test_out_of_memory_in_evaluation_says_what_to_lower(tmp_path: Path, tally: Tally) -> None:
    cli.main(fitting(tmp_path))
    (checkpoint,) = Path().glob("runs/digits/*/checkpoints/last.ckpt")
    many = ["--data.init_args.num_test=30000", "--data.init_args.eval_batch_size=30000"]
    with tally("out of memory said"):
        arguments = ["test", *fitting(tmp_path)[1:], f"--ckpt_path={checkpoint.absolute()}", *many]
        done = mmvae(tmp_path, *arguments, memory=1500 * MIB)
        refused(done, "out of memory", "--data.init_args.eval_batch_size")
        assert [run.name for run in runs()] == ["version_0"]  # the fit's, which had ended


class Exploding(MWBVAE):
    """Its decoder of ``code`` breaks in a step."""

    def decode_modality(
        self, name: str, z: Tensor, private: Tensor | None = None
    ) -> torch.distributions.Distribution:
        p = super().decode_modality(name, z, private)
        if name == "code" and self.training and self.global_step == 3:
            return torch.distributions.Independent(
                torch.distributions.Normal(p.mean * torch.inf, 1.0, validate_args=False), 1
            )
        return p


def test_a_loss_that_breaks_names_step_modality_and_last_checkpoint(tally: Tally) -> None:
    batch = tiny_batch(60)
    data = ArrayDataModule(batch.inputs, batch_size=20, validation_share=0, test_share=0)
    from lightning.pytorch.callbacks import ModelCheckpoint

    keeper = ModelCheckpoint("kept", every_n_train_steps=2, save_last=True)
    run = trainer(max_epochs=4, limit_val_batches=0, log_every_n_steps=1)
    run.callbacks.append(keeper)  # type: ignore[attr-defined]
    with (
        tally("broken losses named"),
        pytest.raises(
            FloatingPointError,
            match=r"step 3: the log-likelihood of 'code' and the loss not finite, expected finite "
            r"ones; the last good checkpoint is .*kept/last\.ckpt",
        ),
    ):
        run.fit(Exploding(tiny_modalities(), LATENT_DIM), data)
    weights = torch.load("kept/last.ckpt")["state_dict"].values()
    assert all(weight.isfinite().all() for weight in weights)


def test_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither into a configuration nor a result, report or log of a run."""
    secret = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_API_KEY", secret)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    done = mmvae(tmp_path, *fitting(tmp_path), "--config=wandb.yaml")
    assert done.returncode == 0, done.stderr
    report = mmvae(tmp_path, "report", "runs/digits/version_0")
    assert report.returncode == 0, report.stderr
    assert (tmp_path / "report" / "report.html").is_file()
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        assert secret.encode() not in path.read_bytes(), path
    assert secret not in done.stdout + done.stderr


def test_a_model_of_the_first_version_still_loads(tally: Tally) -> None:
    """Checkpoints of each released minor version, kept from now on."""
    for path in sorted((Path(__file__).parent / "checkpoints").glob("*.ckpt")):
        with tally("old checkpoints loaded"):
            model = MWBVAE.load_from_checkpoint(path)
            data = DigitsDataModule(num_train=600, num_test=60)
            data.setup("test")
            batch = next(iter(data.test_dataloader()))
            kept = torch.load(path.with_name(f"{path.stem}.expected.pt"))
            mean = model.eval().encode(batch.inputs).mean
            torch.testing.assert_close(mean, kept, rtol=1e-4, atol=1e-5)
            arguments = ["--data.init_args.num_train=600", "--data.init_args.num_test=60"]
            config = path.with_name(f"{path.stem}.yaml")
            cli.main(["fit", f"--config={config}", f"--ckpt_path={path}", *arguments])
