"""The command line, from packaged configuration to run folder; real runs, shortened."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from torch import Tensor
from torch.distributions import Distribution

from mmvae_bary import MWBVAE, MultimodalVAE, cli
from mmvae_bary.plans import PACKAGED
from tests.conftest import barycenter_names
from tests.test_celeba import make

# with so few tuples the classifiers stay below their gate, and after so few steps a probe of wild
# latents may not be solved in a thousand steps
pytestmark = [
    pytest.mark.filterwarnings("ignore:the classifier of"),
    pytest.mark.filterwarnings("ignore:L-BFGS"),
]

SHORT = [
    "--trainer.max_steps=6",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.log_every_n_steps=2",
    "--data.init_args.num_train=600",
    "--data.init_args.num_validation=60",
    "--data.init_args.num_test=120",
    "--trainer.enable_progress_bar=false",
]
LITTLE = [
    "--trainer.max_steps=2",
    "--trainer.limit_val_batches=0",
    "--data.init_args.batch_size=32",
]
MODELS = ["PoEVAE", "MoEVAE", "MoPoEVAE", "WBVAE", "MWBVAE"]
SUBSETS = ["image", "scene", "text", "image+scene", "image+text", "scene+text", "image+scene+text"]


def short(cache: str) -> list[str]:
    return [*SHORT, f"--data.init_args.cache={cache}"]


def results(run: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return figures


def runs() -> list[Path]:
    return sorted(Path("runs/digits").iterdir())


@pytest.mark.parametrize("model", MODELS)
def test_fit_ends_with_a_table_and_a_run_folder(
    model: str, cache: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["fit", "--config=digits.yaml", f"--model={model}", *short(cache)])
    (run,) = runs()
    figures = results(run)
    meta = figures.pop("meta")
    assert {f"probe/accuracy/{subset}" for subset in SUBSETS} <= set(figures)
    assert {"coherence/text->image", "coherence/image+text->scene"} <= set(figures)
    assert {"coherence/mean", "coherence/mean/1", "coherence/mean/2"} <= set(figures)
    assert {"frechet/text->image", "frechet/prior->text", "ssim/image->image"} <= set(figures)
    shares = [key for key in figures if key.startswith(("probe/", "coherence/"))]
    assert all(0 <= figures[key] <= 1 for key in shares)
    assert all(figures[f"log_likelihood/{subset}"] < 0 for subset in SUBSETS)
    assert meta["model"] == model
    assert meta["seed"] == 0
    assert meta["steps"] == 6
    assert set(meta["classifier_accuracy"]) == {"image", "scene", "text"}
    assert (run / "config.yaml").is_file()
    assert (run / "metrics.csv").is_file()
    assert (run / "checkpoints" / "last.ckpt").is_file()
    pictures = {path.name for path in (run / "samples").iterdir()}
    assert {"image+text_to_scene.png", "text_to_image.png", "prior_to_all.png"} <= pictures
    assert {f"image+scene+text_to_{name}.png" for name in ("image", "scene", "text")} <= pictures
    with Image.open(run / "samples" / "image_to_scene.png") as picture:
        assert min(picture.size) > 100
    printed = capsys.readouterr().out
    assert f"{model}, " in printed
    assert "image+scene+text" in printed
    assert "classifier, real data" in printed


def fisher_rao(p: Distribution, q: Distribution) -> Tensor:
    """The squared Fisher-Rao distance of diagonal Gaussians, as a user would write it down."""
    squares = (p.mean - q.mean).square() / 2 + (p.stddev - q.stddev).square()
    return 2 * torch.acosh(1 + squares / (2 * p.stddev * q.stddev) + 1e-12).square().sum(-1)


BARYCENTER = "--model.init_args.barycenter"
FUSIONS = {
    "product": [f"{BARYCENTER}=ProductOfExperts", f"{BARYCENTER}.init_args.prior=never"],
    "geometric": [f"{BARYCENTER}=GeometricBarycenter"],
    "mixture": [f"{BARYCENTER}=MixtureOfExperts"],
    "moments": [f"{BARYCENTER}=MomentMatchingBarycenter"],
    "wasserstein": [f"{BARYCENTER}=WassersteinBarycenter"],
    "jeffreys": [f"{BARYCENTER}=JeffreysBarycenter"],
    "alpha": [f"{BARYCENTER}=AlphaBarycenter", f"{BARYCENTER}.init_args.alpha=0.3"],
    "hellinger": [f"{BARYCENTER}=HellingerBarycenter"],
    "hellinger mixture": [f"{BARYCENTER}=HellingerMixture"],
    "a divergence of one's own": [
        f"{BARYCENTER}=NumericalBarycenter",
        f"{BARYCENTER}.init_args.divergence=tests.test_cli.fisher_rao",
    ],
    "learned weights": [
        f"{BARYCENTER}=WeightedBarycenter",
        f"{BARYCENTER}.init_args.inner=WassersteinBarycenter",
        f"{BARYCENTER}.init_args.weighting=LearnedWeights",
        f"{BARYCENTER}.init_args.weighting.init_args.num_modalities=3",
    ],
    "drawn subsets": [
        f"{BARYCENTER}=SubsetMixture",
        f"{BARYCENTER}.init_args.inner=WassersteinBarycenter",
        f"{BARYCENTER}.init_args.max_subsets=2",
    ],
    "full covariances": ["--model=WBVAE", "--model.init_args.covariance=full"],
}


def test_every_barycenter_is_chosen_by_a_flag() -> None:
    chosen = {flag.removeprefix(f"{BARYCENTER}=") for flags in FUSIONS.values() for flag in flags}
    assert barycenter_names() <= chosen


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_kind_of_fusion_is_a_few_flags(fusion: str, cache: str) -> None:
    cli.main(["fit", "--config=digits.yaml", *FUSIONS[fusion], *short(cache), *LITTLE])
    figures = results(runs()[0])
    assert 0 <= figures["coherence/mean"] <= 1
    assert math.isfinite(figures["test/loss"])


def test_test_reproduces_the_fit_and_a_checkpoint_resumes(cache: str) -> None:
    """Also where training stops long after the last validation, in the middle of an epoch."""
    rarely = "--trainer.check_val_every_n_epoch=10"
    cli.main(["fit", "--config=digits.yaml", *short(cache), rarely])
    (run,) = runs()
    last = f"--ckpt_path={run}/checkpoints/last.ckpt"
    assert torch.load(run / "checkpoints" / "last.ckpt")["global_step"] == 6
    cli.main(["test", f"--config={run}/config.yaml", last])
    _, tested = runs()
    first, second = results(run), results(tested)
    for key in first.keys() - {"meta"}:
        assert second[key] == pytest.approx(first[key], rel=1e-6, abs=1e-6), key
    cli.main(["fit", f"--config={run}/config.yaml", last, "--trainer.max_steps=9"])
    assert results(runs()[2])["meta"]["steps"] == 9


def test_a_checkpoint_loads_in_python_without_pickled_code(cache: str) -> None:
    cli.main(["fit", "--config=digits.yaml", *short(cache)])
    path = runs()[0] / "checkpoints" / "last.ckpt"
    torch.load(path, weights_only=True)
    model = MWBVAE.load_from_checkpoint(path)
    assert isinstance(model, MultimodalVAE)
    posterior = model.encode({"text": torch.zeros(2, 8, 27)})
    assert posterior.mean.shape == (2, 20)


def test_another_barycenter_is_one_flag(cache: str) -> None:
    barycenter = "--model.init_args.barycenter=GeometricBarycenter"
    cli.main(["fit", "--config=digits.yaml", barycenter, *short(cache)])
    assert results(runs()[0])["meta"]["barycenter"] == "GeometricBarycenter()"


def test_a_classifier_below_its_gate_is_called_out() -> None:
    few = [*SHORT, "--data.init_args.num_train=520"]
    with pytest.warns(UserWarning, match="the classifier of 'scene' has a test accuracy of"):
        cli.main(["fit", "--config=digits.yaml", *few])
    files = list(Path("data/classifiers").iterdir())
    assert len(files) == 1  # kept beside the data, and nothing else


def test_classifiers_are_trained_before_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are judged by their gate, and a run finds them trained."""
    sizes = ["--data.init_args.num_train=3000", "--data.init_args.num_test=120"]
    arguments = [*SHORT, *sizes, "--data.init_args.cache=judges"]
    with pytest.raises(SystemExit, match=r"below their gate: .*scene"):
        cli.main(["classifiers", "fit", "--config", shortened("digits.yaml", 60), *arguments])
    (path,) = Path("judges/classifiers").iterdir()
    printed = capsys.readouterr().out
    assert "scene: 0." in printed
    assert "gate 0.9" in printed
    assert not Path("runs").exists()
    before = path.stat().st_mtime_ns
    cli.main(["fit", f"--config={shortened('digits.yaml', 60)}", *arguments])
    assert [file.stat().st_mtime_ns for file in path.parent.iterdir()] == [before]
    with pytest.raises(SystemExit, match="below their gate"):  # as a run keeps it
        cli.main(["classifiers", "fit", "--config=runs/digits/version_0/config.yaml"])
    assert path.stat().st_mtime_ns == before
    with pytest.raises(SystemExit, match="invalid choice: 'train'"):
        cli.main(["classifiers", "train"])
    other_test = "--data.init_args.num_test=110"  # the weights are kept, the score is not
    with pytest.raises(SystemExit, match="below their gate"):
        cli.main(["classifiers", "fit", "--config=short_digits.yaml", *arguments, other_test])
    assert len(list(path.parent.iterdir())) == 1
    assert path.stat().st_mtime_ns > before


def shortened(name: str, classifier_steps: int, num_rows: int = 500) -> str:
    """A copy of a packaged configuration that trains its classifiers for a few steps only.

    It estimates the log-likelihoods of a few items.
    """
    content = yaml.safe_load(Path(PACKAGED[name]).read_text(encoding="utf-8"))
    probe, likelihood, coherence, _ = content["trainer"]["callbacks"]
    probe["init_args"] = {"num_rows": num_rows}
    likelihood["init_args"] = {"num_items": 4}
    coherence["init_args"]["max_steps"] = classifier_steps
    path = Path(f"short_{name}")
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


TWO_STEPS = [
    "--trainer.max_steps=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
]


def test_celeba_from_made_up_files(capsys: pytest.CaptureFixture[str]) -> None:
    """Attributes instead of a class, and private latents."""
    make(Path("raw"), 200)
    small = ["--data.init_args.batch_size=8", *TWO_STEPS]
    config = f"--config={shortened('celeba.yaml', 2, num_rows=20)}"
    cli.main(["fit", config, "--data.init_args.root=raw", *small])
    run = Path("runs/celeba/version_0")
    figures = results(run)
    notes = ["pictures of half size", "only 160 + 20 + 20 pictures, split by index"]
    assert figures["meta"]["notes"][1:] == notes
    assert set(figures["meta"]["classifier_average_precision"]) == {"image", "text"}
    for key in ("probe/average_precision/image+text", "coherence/text->image", "probe/chance"):
        assert 0 < figures[key] < 1
    assert "coherence/text->image/Smiling" in figures
    assert "coherence/joint/Smiling" in figures
    printed = " ".join(capsys.readouterr().out.split())
    assert "chance (base rates)" in printed
    assert "pictures of half size" in printed
    with Image.open(run / "samples" / "image_to_text.png") as picture:
        assert picture.size[0] > 1000  # long texts take wide cells


BENCHMARKS = {
    "polymnist": "--data.init_args.backgrounds={root}/polymnist_backgrounds",
    "mnist_svhn_text": "--data.init_args.verify=false",
    "celeba": "--data.init_args.limit_validation=10",
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_from_real_raw_files(name: str, real_data: Path) -> None:
    cli.main(
        [
            "fit",
            f"--config={shortened(f'{name}.yaml', 2, num_rows=100)}",
            f"--data.init_args.root={real_data}",
            BENCHMARKS[name].format(root=real_data),
            "--data.init_args.limit_train=200",
            "--data.init_args.limit_test=20",
            "--data.init_args.batch_size=8",
            *TWO_STEPS,
        ]
    )
    run = Path("runs") / name / "version_0"
    said = results(run)["meta"]["notes"]
    assert {"at most 200 train tuples", "at most 20 test tuples"} <= set(said)
    judge = "classifier of svhn: standardizes each picture, unlike the published one"
    assert (judge in said) == (name == "mnist_svhn_text")
    assert any((run / "samples").iterdir())


def test_a_trial_of_one_batch_leaves_nothing(cache: str) -> None:
    cli.main(["fit", "--config=digits.yaml", "--trainer.fast_dev_run=true", *short(cache)])
    assert not list(Path().rglob("*.ckpt"))
    assert not Path("runs").exists()


def test_help_says_what_each_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["predict"]):
        with pytest.raises(SystemExit):
            cli.main([*arguments, "--help"])
        said = " ".join(capsys.readouterr().out.split())
        assert "Write latents and imputed modalities of all samples to a file." in said


def test_validate_and_predict(cache: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["validate", "--config=digits.yaml", *short(cache)])
    said = " ".join(capsys.readouterr().out.split())
    assert "on DigitsDataModule, validation set" in said
    assert "image+text" in said
    assert "loss " in said
    assert "val/" not in said  # which Lightning's table has
    with pytest.raises(SystemExit, match="got nothing to predict with, expected --ckpt_path FILE"):
        cli.main(["predict", "--config=digits.yaml", *short(cache)])
    cli.main(["fit", "--config=digits.yaml", *short(cache)])
    (checkpoint,) = Path("runs/digits").glob("*/checkpoints/last.ckpt")
    cli.main(["predict", "--config=digits.yaml", f"--ckpt_path={checkpoint}", *short(cache)])
    (path,) = Path("runs/digits").glob("*/predictions.npz")
    with np.load(path) as file:
        assert file["mean/image+text"].shape == (120, 20)
        assert file["imputed/scene"].shape == (120, 3, 16, 16)


def read_wandb(file: Path) -> Iterator[Any]:
    """The records of an offline run: a log of protocol buffers, in LevelDB's form.

    Blocks of 32 KiB hold chunks, each after a checksum, its length and whether it is a whole
    record (1) or the first, a middle or the last part of one (2, 3, 4).
    """
    from wandb.proto import wandb_internal_pb2

    content = file.read_bytes()
    position, record = 7, b""  # the file's own header is 7 bytes
    while position + 7 <= len(content):
        if (rest := 32768 - position % 32768) < 7:
            position += rest
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in {1, 4}:
            message = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
            message.ParseFromString(record)
            yield message
            record = b""


def test_offline_weights_and_biases_run(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real offline run, read back from its file: figures, pictures, table, settings, group."""
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    cli.main(["fit", "--config=digits.yaml", "--config=wandb.yaml", *short(cache)])
    wandb.finish()
    (file,) = Path("runs/wandb").glob("offline-run-*/run-*.wandb")
    records = list(read_wandb(file))
    logged = {
        item.key or ".".join(item.nested_key): json.loads(item.value_json)
        for record in records
        for item in record.history.item
    }
    figures = results(runs()[0])
    for key in ("coherence/mean", "probe/accuracy/image+scene+text"):
        assert logged[key] == pytest.approx(figures[key], abs=1e-6)
    assert "train/loss" in logged
    assert any(key.startswith("samples/text->image") for key in logged)
    (table,) = file.parent.glob("files/media/table/results_*.table.json")
    content = json.loads(table.read_text(encoding="utf-8"))
    assert content["columns"] == ["given", "probe", "→ image", "→ scene", "→ text", "log p(X)"]
    rows = {row[0]: row[1:] for row in content["data"]}
    assert list(rows) == [*SUBSETS, "mean"]
    assert rows["text"][1] == pytest.approx(figures["coherence/text->image"])
    assert rows["text"][3] is None
    run = next(record.run for record in records if record.run.run_id)
    assert (run.display_name, run.run_group, run.job_type) == ("MWBVAE 0", "Digits", "MWBVAE")
    assert list(run.tags) == ["Digits", "MWBVAE", "seed 0"]
    settings = {item.key: item.value_json for r in records for item in r.config.update}
    assert json.loads(settings["beta"]) == 2.5
    assert json.loads(settings["seed_everything"]) == 0
    assert json.loads(settings["data"])["init_args"]["num_train"] == 600


def test_a_refused_run_without_a_logger_leaves_the_users_folder() -> None:
    run = ["fit", "--config=digits.yaml", *LITTLE, "--trainer.logger=false"]
    with pytest.raises(SystemExit, match="at most the 20 training tuples"):
        cli.main([*run, "--data.init_args.num_train=20"])
    assert Path.cwd().is_dir()


def test_a_process_that_fails_asks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may have ended, or wait elsewhere."""
    trainer = Trainer(accelerator="cpu", logger=CSVLogger("runs"))
    monkeypatch.setattr(trainer.strategy, "broadcast", pytest.fail)
    folder = Path(trainer.loggers[0].log_dir or "")
    folder.mkdir(parents=True)
    model: Any = None
    saving: Any = cli._SaveConfig
    saving.on_exception(None, trainer, model, RuntimeError())
    assert not folder.exists()


def test_a_users_own_group_and_name_stay() -> None:
    """Of a single logger too; what is not told is filled in."""
    own = {"group": "mine", "name": "first"}
    logger = {"class_path": "WandbLogger", "init_args": {"offline": True, **own}}
    for given in (logger, [logger]):
        made = cli._cli(
            ["--config=digits.yaml", f"--trainer.logger={json.dumps(given)}"], run=False
        )
        config = made.config.clone()
        cli._group(config)
        found = config.trainer.logger
        (kept,) = found if isinstance(found, list) else [found]
        assert (kept.init_args.group, kept.init_args.name) == ("mine", "first")
        assert kept.init_args.job_type == "MWBVAE"
        assert kept.init_args.tags == ["Digits", "MWBVAE", "seed 0"]


def test_tensorboard_gets_the_figures_and_the_pictures(cache: str) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = {"class_path": "TensorBoardLogger", "init_args": {"save_dir": "board"}}
    cli.main(["fit", "--config=digits.yaml", f"--trainer.logger={json.dumps([logger])}",
              *short(cache)])  # fmt: skip
    folder = Path("board/digits/version_0")
    events = EventAccumulator(str(folder))
    events.Reload()
    figures = results(folder)
    (event,) = events.Scalars("coherence/mean")
    assert event.value == pytest.approx(figures["coherence/mean"])
    assert {"samples/text->image", "samples/prior->all"} <= set(events.Tags()["images"])
    (picture,) = events.Images("samples/text->image")
    with Image.open(folder / "samples" / "text_to_image.png") as saved:
        assert (picture.width, picture.height) == saved.size


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mmvae_bary.cli", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


BAD_COMMANDS = {
    "unknown configuration": (
        ["fit", "--config=digit.yaml"],
        "--config: got 'digit.yaml', which is no file here, expected one or a packaged "
        "configuration: celeba.yaml, digits.yaml, ",
    ),
    "missing checkpoint": (
        ["test", "--config=digits.yaml", "--ckpt_path=no.ckpt"],
        "ckpt_path: got 'no.ckpt', expected a checkpoint file",
    ),
    "misspelt key": (
        ["fit", "--config=digits.yaml", "-c", "misspelt.yaml"],
        "Option 'latent_dimm' is not accepted; did you mean 'latent_dim'?",
    ),
    "misspelt option": (
        ["fit", "-c=digits.yaml", "--model.init_args.betta=1"],
        "Option 'betta' is not accepted; did you mean 'beta'?",
    ),
    "misspelt trainer option": (
        ["fit", "--config=digits.yaml", "--trainer.max_stepss=1"],
        "unrecognized arguments: --trainer.max_stepss=1; did you mean 'max_steps'?",
    ),
    "unknown model": (
        ["fit", "--config=digits.yaml", "--model=MWBVAEE"],
        "Expected a dot import path string: MWBVAEE; did you mean 'MWBVAE'?",
    ),
    "a number that is none": (
        ["fit", "--config=digits.yaml", "--data.init_args.num_train=many"],
        "Expected a <class 'int'>. Got value: many",
    ),
    "a width that does not fit": (
        ["fit", "--config=digits.yaml", "--model.init_args.latent_dim=21"],
        "modality 'image': the encoder returned shape (2, 40) for a batch of 2, expected (2, 42)",
    ),
}


@pytest.mark.parametrize("case", BAD_COMMANDS)
def test_mistakes_get_a_line_and_no_traceback(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = BAD_COMMANDS[case]
    Path("misspelt.yaml").write_text(
        "model:\n  init_args:\n    latent_dimm: 3\n", encoding="utf-8"
    )
    with pytest.raises(SystemExit) as stopped:
        cli.main([*arguments, *SHORT])
    assert stopped.value.code not in {0, None}
    said = str(stopped.value.code)
    assert said.startswith("mmvae: error: ")
    assert message in said
    assert "\n" not in said
    assert "Traceback" not in capsys.readouterr().err
    assert not Path("runs").exists()


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(FileNotFoundError, match=r"got 'digit\.yaml'"):
        cli.main(["fit", "--config=digit.yaml", "--debug"])


def on_a_screen(width: int, *args: str) -> str:
    """What the command writes, to a terminal so wide."""
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "dumb"}
    command = [sys.executable, "-m", "mmvae_bary.cli", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.stdout + done.stderr


@pytest.mark.parametrize("width", [80, 200])
def test_a_run_fits_the_screen_and_says_each_thing_once(width: int, cache: str) -> None:
    shown = ["--trainer.enable_progress_bar=true", *LITTLE]
    written = on_a_screen(width, "fit", "--config=digits.yaml", *short(cache), *shown)
    assert "mmvae: warning: the classifier of 'scene'" in written
    assert "rank_zero_warn" not in written
    assert "Step 2/2" in written
    assert "/-2" not in written  # of no limit of epochs
    assert "litlogger" not in written
    assert "\nThe run is in runs/digits/version_0\n" in written
    table = [line for line in written.splitlines() if line.startswith(("│", "┃"))]
    assert len(table) > 10
    assert max(map(len, table)) <= 80


def test_help_is_made_of_whole_sentences() -> None:
    written = on_a_screen(80, "--help")
    assert "Evaluate a checkpoint on the test set." in written
    assert "never run on your" not in written
    assert max(map(len, written.splitlines())) <= 80


def test_the_command_finds_classes_in_the_folder_it_is_started_in() -> None:
    """The installed one, which Python would let look beside itself."""
    Path("twice.py").write_text(
        "from torch import nn\n"
        "from mmvae_bary.networks import MLPEncoder\n"
        "class TwiceEncoder(nn.Sequential):\n"
        "    def __init__(self) -> None:\n"
        "        super().__init__(MLPEncoder((1, 16, 16), 20))\n",
        encoding="utf-8",
    )
    script = Path(sys.executable).with_name("mmvae")
    encoder = "--model.init_args.modalities.image.encoder"
    done = subprocess.run(
        [
            script,
            "fit",
            "--config",
            "digits.yaml",
            encoder,
            "twice.TwiceEncoder",
            "--print_config",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    assert "class_path: twice.TwiceEncoder" in done.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["--trainer.max_steps", "5", "--config", "digits.yaml"],
            "got --trainer.max_steps before",
        ),
        (["--config", "digits.yaml", "--model.init_args.beta", "x"], "model.beta: "),
        (
            ["--config", "digits.yaml", "--model.init_args.barycenter", "JefreysBarycenter"],
            "did you mean 'JeffreysBarycenter'?",
        ),
    ],
)
def test_a_mistake_names_the_option_and_what_was_perhaps_meant(args: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["fit", *args])
    assert said in str(stopped.value)
