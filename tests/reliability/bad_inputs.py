"""Wrong inputs over the whole surface, and what is said of each.

``python -m tests.reliability.bad_inputs`` prints them as the table of ``docs/bad_inputs.md``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from mmvae_bary import (
    MWBVAE,
    ArrayDataModule,
    Batch,
    CoherenceCallback,
    DigitsDataModule,
    LinearProbeCallback,
    LogLikelihoodCallback,
    Modality,
    PredictionCallback,
    QualityCallback,
    SampleGridCallback,
    cli,
)
from mmvae_bary.barycenters import (
    AlphaBarycenter,
    NumericalBarycenter,
    ProductOfExperts,
    SizeWeights,
    SubsetMixture,
    WassersteinBarycenter,
)
from mmvae_bary.barycenters.subsets import draw_subsets
from mmvae_bary.distributions import diagonal_gaussian
from mmvae_bary.divergences import wasserstein
from mmvae_bary.likelihoods import Laplace
from mmvae_bary.metrics import ModalityClassifiers
from mmvae_bary.networks import MLPDecoder, MLPEncoder
from mmvae_bary.plans import PACKAGED
from tests.conftest import tiny_inputs, tiny_model

MISTAKES = (ValueError, TypeError, OSError)
HEADING = """# Wrong input

What is said of a mistake: what came and what was expected, before time is spent. On the command
line it is one line, `mmvae: error: ...`, and `--debug` shows where it was found; in Python it is
an exception's message. This table is printed by `python -m tests.reliability.bad_inputs`, and each
row is a test.
"""
MARKER = Path("was_run")
MADE = {"class_path": "os.mkdir", "init_args": {"path": str(MARKER)}}
WIDTHS = ("in_features", "out_features")
ONE = "--trainer.max_steps=1"  # lest a mistake that is not seen take long


class Mistake(NamedTuple):
    """A wrong input.

    Attributes:
        area: Where it is made.
        what: In a few words.
        make: Makes it, in an empty folder.
        foreign: What is said are another library's words, which change with it.
    """

    area: str
    what: str
    make: Callable[[], object]
    foreign: bool = False


class Opener:
    """A pickle that runs code where it is loaded."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(MARKER),)


def write(path: str, content: str | bytes) -> str:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def saved(path: str, content: object) -> str:
    torch.save(content, path)
    return path


def run(*arguments: str) -> None:
    """The command line, whose errors come as the line that it prints."""
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        try:
            cli.main(list(arguments))
        except SystemExit as stopped:
            line = str(stopped.code).removeprefix("mmvae: error: ")
            said = line.removesuffix(" (--debug shows where)")
            assert said != line, f"no line of ours: {line}"
            assert "Traceback" not in printed.getvalue()
            raise ValueError(said) from None


def fit(*arguments: str) -> None:
    run("fit", "--config=digits.yaml", ONE, *arguments)


def fit_changed(change: Callable[[dict[str, Any]], object]) -> None:
    """A run of the packaged configuration, changed."""
    content = yaml.safe_load(Path(PACKAGED["digits.yaml"]).read_text(encoding="utf-8"))
    change(content)
    run("fit", f"--config={write('own.yaml', yaml.safe_dump(content))}", ONE)


def image(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["model"]["init_args"]["modalities"]["image"]
    return found


def arrays(**arguments: Any) -> None:
    """Data of one's own, read."""
    given = {"modalities": {"a": np.ones((30, 3)), "b": np.ones((30, 2))}} | arguments
    data = ArrayDataModule(**given)
    data.setup("fit")


def table(suffix: str, content: str | bytes) -> None:
    arrays(modalities={"a": write(f"a.{suffix}", content)})


def experts(*shape: int) -> Any:
    return diagonal_gaussian(torch.zeros(*shape), torch.ones(*shape))


def finished_run(**changed: str) -> Path:
    """A run's folder, with files of other content."""
    folder = Path("run")
    model = {"class_path": "MWBVAE", "init_args": {"modalities": {"a": {}}}}
    config = {"model": model, "data": {}, "trainer": {"callbacks": None}, "ckpt_path": None}
    meta = {"model": "MWBVAE", "seed": 0, "data": "D", "versions": {"mmvae-bary": "0.0.1"}}
    files = {"config": yaml.safe_dump(config), "results": json.dumps({"meta": meta})} | changed
    for name, content in files.items():
        write(f"run/{name}.{'yaml' if name == 'config' else 'json'}", content)
    return folder


def width(dim: int) -> Modality:
    return Modality((4,), MLPEncoder((4,), dim), MLPDecoder(dim, (4,)), Laplace())


def test_with(checkpoint: str) -> None:
    run("test", "--config=digits.yaml", f"--ckpt_path={checkpoint}")


def calling(path: str) -> str:
    """A checkpoint whose model's settings call a function."""
    settings = {"_class_path": "mmvae_bary.MWBVAE", "optimizer": MADE}
    settings["_instantiator"] = "lightning.pytorch.cli.instantiate_module"
    return weights_alone(path, hyper_parameters=settings)


def weights_alone(path: str, **more: Any) -> str:
    """A checkpoint of Lightning's ``save_weights_only``."""
    return saved(path, {"state_dict": {}, "pytorch-lightning_version": "2.6.0"} | more)


def fit_judged_by(path: str, *widths: int) -> None:
    network = {"class_path": path, "init_args": dict(zip(WIDTHS, widths, strict=True))}
    fit_changed(lambda c: judging(c).update(image=network))


def judging(content: dict[str, Any]) -> dict[str, Any]:
    callbacks = content["trainer"]["callbacks"]
    found: dict[str, Any] = next(
        callback["init_args"]["classifiers"]
        for callback in callbacks
        if callback["class_path"] == "CoherenceCallback"
    )
    return found


def judges(path: str) -> None:
    ModalityClassifiers({"a": torch.nn.Linear(2, 2)}).load(Path(path), torch.device("cpu"))


def reproduce_into_another() -> None:
    write("runs/reproduce/digits/PoEVAE/seed_0/x", "x")
    run("reproduce", "digits", "--models", "PoEVAE", "--seeds", "1")


def fit_into_another() -> None:
    write("runs/digits/version_7/config.yaml", "a: 1")
    logger = {"save_dir": "runs", "name": "digits", "version": 7}
    logger = {"class_path": "CSVLogger", "init_args": logger}
    fit(f"--trainer.logger={json.dumps(logger)}")


CASES = [
    Mistake("constructor", "a list of modalities", lambda: MWBVAE([width(2)], 2)),  # type: ignore[arg-type]
    Mistake(
        "constructor",
        "a network for a modality",
        lambda: MWBVAE({"a": torch.nn.Linear(2, 2)}, 2),  # type: ignore[dict-item]
    ),
    Mistake(
        "constructor",
        "a barycenter's name",
        lambda: MWBVAE({"a": width(2)}, 2, "WassersteinBarycenter"),  # type: ignore[arg-type]
    ),
    Mistake(
        "constructor",
        "a barycenter's class, inside another",
        lambda: SubsetMixture(WassersteinBarycenter),  # type: ignore[arg-type]
    ),
    Mistake("constructor", "a shape with a zero", lambda: Modality((3, 0))),
    Mistake(
        "constructor",
        "a likelihood's class",
        lambda: Modality((4,), likelihood=Laplace),  # type: ignore[arg-type]
    ),
    Mistake("constructor", "a negative seed", lambda: DigitsDataModule(seed=-1)),
    Mistake("constructor", "a grid without columns", lambda: SampleGridCallback(num_columns=0)),
    Mistake(
        "constructor",
        "judges trained for no step",
        lambda: ModalityClassifiers({"a": torch.nn.Linear(4, 2)}, max_steps=0),
    ),
    Mistake(
        "batch",
        "a tensor without a name",
        lambda: MWBVAE({"a": width(2)}, 2).encode(torch.ones(2, 4)),  # type: ignore[arg-type]
    ),
    Mistake(
        "batch",
        "NaN inside a row",
        lambda: MWBVAE({"a": width(2)}, 2).impute({"a": np.array([[1.0, np.nan, 1.0, 1.0]])}),
    ),
    Mistake(
        "batch",
        "words",
        lambda: MWBVAE({"a": width(2)}, 2).embed({"a": [["x"] * 4] * 2}),
    ),
    Mistake(
        "batch",
        "integers",
        lambda: MWBVAE({"a": width(2)}, 2).encode({"a": torch.ones(2, 4).long()}),
    ),
    Mistake(
        "batch",
        "no sample to generate",
        lambda: MWBVAE({"a": width(2)}, 2).generate(num_samples=0),
    ),
    Mistake("data files", "ragged rows", lambda: arrays(modalities={"a": [[1, 2], [3]]})),
    Mistake("constructor", "no modalities", lambda: MWBVAE({}, 2)),
    Mistake("constructor", "a modality called `a+b`", lambda: MWBVAE({"a+b": width(2)}, 2)),
    Mistake("constructor", "a modality called `items`", lambda: MWBVAE({"items": width(2)}, 2)),
    Mistake(
        "constructor",
        "half a latent",
        lambda: MWBVAE({"a": width(2)}, 2.5),  # type: ignore[arg-type]
    ),
    Mistake("constructor", "no latents", lambda: MWBVAE({"a": width(2)}, 0)),
    Mistake("constructor", "a negative beta", lambda: MWBVAE({"a": width(2)}, 2, beta=-1)),
    Mistake("constructor", "beta NaN", lambda: MWBVAE({"a": width(2)}, 2, beta=float("nan"))),
    Mistake(
        "constructor", "a negative warm-up", lambda: MWBVAE({"a": width(2)}, 2, warmup_steps=-1)
    ),
    Mistake("constructor", "networks of another width", lambda: MWBVAE({"a": width(3)}, 2)),
    Mistake(
        "constructor",
        "an encoder of other data",
        lambda: MWBVAE({"a": Modality((5,), MLPEncoder((4,), 2))}, 2),
        foreign=True,
    ),
    Mistake(
        "constructor",
        "a decoder to another shape",
        lambda: MWBVAE({"a": Modality((5,), decoder=MLPDecoder(2, (4,)))}, 2),
    ),
    Mistake(
        "constructor",
        "a weight for no modality",
        lambda: MWBVAE({"a": width(2)}, 2, reconstruction_weights={"b": 1.0}),
    ),
    Mistake(
        "constructor",
        "all weights zero",
        lambda: MWBVAE({"a": width(2)}, 2, reconstruction_weights={"a": 0.0}),
    ),
    Mistake(
        "constructor",
        "an unknown covariance",
        lambda: tiny_model(MWBVAE, covariance="round"),
    ),
    Mistake("constructor", "no barycenter", lambda: tiny_model()),
    Mistake("constructor", "a scale of zero", lambda: Laplace(0.0)),
    Mistake(
        "constructor",
        "a mixture of mixtures",
        lambda: SubsetMixture(SubsetMixture(ProductOfExperts())),
    ),
    Mistake("constructor", "a prior unknown", lambda: ProductOfExperts("sometimes")),  # type: ignore[arg-type]
    Mistake("constructor", "alpha above one", lambda: AlphaBarycenter(1.5)),
    Mistake("constructor", "no tolerance", lambda: WassersteinBarycenter(tolerance=0.0)),
    Mistake("constructor", "size weights of zero", lambda: SizeWeights([0.0, 0.0])),
    Mistake(
        "constructor", "no iterations", lambda: NumericalBarycenter(wasserstein, max_iterations=0)
    ),
    Mistake("constructor", "a batch size of zero", lambda: DigitsDataModule(batch_size=0)),
    Mistake("constructor", "a share missing above one", lambda: DigitsDataModule(missing=1.5)),
    Mistake("constructor", "a negative number of tuples", lambda: DigitsDataModule(num_test=-1)),
    Mistake(
        "constructor", "no samples of coherence", lambda: CoherenceCallback({}, num_samples=0)
    ),
    Mistake(
        "constructor",
        "an unknown representation",
        lambda: LinearProbeCallback(representation="mode"),  # type: ignore[arg-type]
    ),
    Mistake("constructor", "no draws", lambda: LogLikelihoodCallback(num_samples=0)),
    Mistake(
        "constructor", "weights of Inception that are not there", lambda: QualityCallback("no.pth")
    ),
    Mistake("constructor", "an unknown file format", lambda: PredictionCallback("xls")),  # type: ignore[arg-type]
    Mistake(
        "fusion",
        "negative weights",
        lambda: ProductOfExperts()(experts(2, 3, 4), torch.tensor([1.0, -1, 1])),
    ),
    Mistake(
        "fusion", "no expert at all", lambda: ProductOfExperts()(experts(2, 3, 4), torch.zeros(3))
    ),
    Mistake(
        "fusion",
        "weights for other experts",
        lambda: ProductOfExperts()(experts(2, 3, 4), torch.ones(2)),
    ),
    Mistake("fusion", "no dimension of experts", lambda: ProductOfExperts()(experts(4))),
    Mistake(
        "fusion",
        "thirteen modalities enumerated",
        lambda: SubsetMixture(ProductOfExperts())(experts(2, 13, 2)),
    ),
    Mistake(
        "fusion",
        "sixty modalities drawn",
        lambda: draw_subsets(torch.ones(60, dtype=torch.bool), 4),
    ),
    Mistake(
        "batch",
        "an unknown modality",
        lambda: tiny_model(MWBVAE).encode({"sound": torch.zeros(2, 6)}),
    ),
    Mistake(
        "batch", "another shape", lambda: tiny_model(MWBVAE).encode({"code": torch.zeros(2, 7)})
    ),
    Mistake("batch", "nothing given", lambda: tiny_model(MWBVAE).encode({})),
    Mistake(
        "batch",
        "batches of two sizes",
        lambda: tiny_model(MWBVAE).encode({**tiny_inputs(3), "code": torch.zeros(2, 6)}),
    ),
    Mistake(
        "batch",
        "a name instead of names",
        lambda: tiny_model(MWBVAE).encode(tiny_inputs(), given="code"),
    ),
    Mistake(
        "batch",
        "given what is not there",
        lambda: tiny_model(MWBVAE).encode({"code": torch.zeros(2, 6)}, given=["text"]),
    ),
    Mistake("batch", "given without inputs", lambda: tiny_model(MWBVAE).generate(given=["code"])),
    Mistake("batch", "an unknown target", lambda: tiny_model(MWBVAE).generate(targets=["sound"])),
    Mistake(
        "batch",
        "no draws",
        lambda: tiny_model(MWBVAE).log_likelihood(tiny_inputs(), num_samples=0),
    ),
    Mistake(
        "batch",
        "a mask of numbers",
        lambda: tiny_model(MWBVAE).encode_batch(Batch(tiny_inputs(2), torch.ones(2, 3))),
    ),
    Mistake(
        "batch",
        "a mask of other samples",
        lambda: tiny_model(MWBVAE).encode_batch(
            Batch(tiny_inputs(2), torch.ones(5, 3, dtype=torch.bool))
        ),
    ),
    Mistake(
        "batch",
        "nothing to impute with",
        lambda: tiny_model(MWBVAE).impute(tiny_inputs(), num_samples=0),
    ),
    Mistake("data files", "no file", lambda: arrays(modalities={"a": "no.csv"})),
    Mistake("data files", "an unknown ending", lambda: table("xlsx", "1")),
    Mistake("data files", "text for a .npy", lambda: table("npy", "text"), foreign=True),
    Mistake("data files", "text for a .npz", lambda: table("npz", "text"), foreign=True),
    Mistake("data files", "an empty .csv", lambda: table("csv", ""), foreign=True),
    Mistake(
        "data files",
        "a word among numbers",
        lambda: table("csv", "x,y\n1,2\n3,four\n" + "1,2\n" * 20),
    ),
    Mistake("data files", "text for a .parquet", lambda: table("parquet", "text"), foreign=True),
    Mistake(
        "data files",
        "tables of two lengths",
        lambda: arrays(modalities={"a": np.ones((30, 3)), "b": np.ones((29, 2))}),
    ),
    Mistake(
        "data files",
        "an infinite number",
        lambda: arrays(modalities={"a": np.full((30, 3), np.inf)}),
    ),
    Mistake("data files", "a label too few", lambda: arrays(label=np.zeros(29, int))),
    Mistake("data files", "an unknown kind", lambda: arrays(kinds={"a": "colours"})),
    Mistake("data files", "a kind that is not so", lambda: arrays(kinds={"a": "one-hot"})),
    Mistake(
        "data files", "shares above one", lambda: arrays(validation_share=0.6, test_share=0.6)
    ),
    Mistake(
        "data files",
        "rows named twice",
        lambda: arrays(modalities={"a": write("a.csv", "id,x\n" + "p,1\n" * 20)}, index="id"),
    ),
    Mistake(
        "data files",
        "no column of names",
        lambda: arrays(modalities={"a": write("a.csv", "x,y\n" + "1,2\n" * 20)}, index="id"),
    ),
    Mistake(
        "YAML",
        "broken syntax",
        lambda: run("fit", f"--config={write('c.yaml', 'model: [1, 2')}"),
        foreign=True,
    ),
    Mistake(
        "YAML",
        "a list instead of settings",
        lambda: run("fit", f"--config={write('c.yaml', '- 1')}"),
        foreign=True,
    ),
    Mistake(
        "YAML",
        "an unknown section",
        lambda: fit_changed(lambda c: c.update(modle={"a": 1})),
        foreign=True,
    ),
    Mistake(
        "YAML",
        "gradients gathered over no batch",
        lambda: fit("--trainer.accumulate_grad_batches=0"),
    ),
    Mistake(
        "YAML",
        "a validation every zero epochs",
        lambda: fit("--trainer.check_val_every_n_epoch=0"),
    ),
    Mistake("YAML", "a judge of other data", lambda: fit_judged_by("torch.nn.Linear", 3, 10)),
    Mistake("YAML", "a judge of another shape", lambda: fit_judged_by("torch.nn.Linear", 16, 9)),
    Mistake(
        "YAML",
        "a misspelt setting",
        lambda: fit_changed(lambda c: c["model"]["init_args"].update(latent_dimm=3)),
        foreign=True,
    ),
    Mistake(
        "YAML",
        "a function for a network",
        lambda: fit_changed(
            lambda c: image(c).update(
                encoder={"class_path": "os.system", "init_args": {"command": "mkdir was_run"}}
            )
        ),
        foreign=True,
    ),
    Mistake(
        "YAML",
        "a function for an optimiser",
        lambda: fit_changed(lambda c: c["model"]["init_args"].update(optimizer=MADE)),
    ),
    Mistake(
        "YAML",
        "a function for a divergence",
        lambda: fit_changed(
            lambda c: c["model"]["init_args"].update(
                barycenter={"class_path": "NumericalBarycenter", "init_args": {"divergence": MADE}}
            )
        ),
    ),
    Mistake(
        "YAML",
        "a class that is no model",
        lambda: fit_changed(lambda c: c["model"].update(class_path="subprocess.Popen")),
        foreign=True,
    ),
    Mistake(
        "YAML",
        "a class that is no barycenter",
        lambda: fit_changed(
            lambda c: c["model"]["init_args"].update(barycenter={"class_path": "torch.nn.ReLU"})
        ),
        foreign=True,
    ),
    Mistake(
        "YAML",
        "a class that is no data module",
        lambda: fit_changed(lambda c: c["data"].update(class_path="collections.Counter")),
        foreign=True,
    ),
    Mistake(
        "YAML",
        "a width that does not fit",
        lambda: fit_changed(lambda c: c["model"]["init_args"].update(latent_dim=21)),
    ),
    Mistake(
        "YAML",
        "a classifier too few",
        lambda: fit_changed(
            lambda c: c["trainer"]["callbacks"][2]["init_args"]["classifiers"].pop("text")
        ),
    ),
    Mistake(
        "YAML",
        "quality without classifiers",
        lambda: fit_changed(lambda c: c["trainer"]["callbacks"].pop(2)),
    ),
    Mistake("command line", "an unknown configuration", lambda: run("fit", "--config=digit.yaml")),
    Mistake("command line", "no configuration", lambda: run("fit"), foreign=True),
    Mistake(
        "command line",
        "options before the configuration",
        lambda: run("fit", "--data.init_args.num_test=9", "--config=digits.yaml"),
        foreign=True,
    ),
    Mistake(
        "command line", "a misspelt option", lambda: fit("--model.init_args.betta=1"), foreign=True
    ),
    Mistake(
        "command line",
        "a misspelt option of the trainer",
        lambda: fit("--trainer.max_stepss=1"),
        foreign=True,
    ),
    Mistake("command line", "an unknown model", lambda: fit("--model=MWBVAEE"), foreign=True),
    Mistake(
        "command line",
        "a number that is none",
        lambda: fit("--data.init_args.num_train=many"),
        foreign=True,
    ),
    Mistake(
        "command line", "an unknown precision", lambda: fit("--trainer.precision=12"), foreign=True
    ),
    Mistake(
        "command line",
        "no device",
        lambda: fit("--trainer.devices=0", "--trainer.accelerator=cpu"),
        foreign=True,
    ),
    Mistake(
        "command line",
        "an accelerator that is not there",
        lambda: fit("--trainer.accelerator=tpu"),
        foreign=True,
    ),
    Mistake(
        "command line",
        "batches larger than the data",
        lambda: fit(
            "--data.init_args.num_train=600",
            "--data.init_args.batch_size=900",
            "--trainer.limit_val_batches=0",
        ),
    ),
    Mistake(
        "command line", "more rows than there are", lambda: fit("--data.init_args.num_train=100")
    ),
    Mistake(
        "command line", "nothing to predict with", lambda: run("predict", "--config=digits.yaml")
    ),
    Mistake("command line", "an unknown benchmark", lambda: run("reproduce", "cifar")),
    Mistake(
        "command line",
        "an unknown model to reproduce",
        lambda: run("reproduce", "digits", "--models", "VAE"),
    ),
    Mistake("command line", "no seeds", lambda: run("reproduce", "digits", "--seeds", "0")),
    Mistake(
        "command line",
        "a setting that differs by run",
        lambda: run("reproduce", "digits", "--seed_everything=3"),
    ),
    Mistake(
        "checkpoints",
        "weights alone, to go on training from",
        lambda: fit(f"--ckpt_path={weights_alone('a.ckpt')}"),
    ),
    Mistake(
        "checkpoints",
        "a list, in Python",
        lambda: MWBVAE.load_from_checkpoint(saved("a.ckpt", [1])),
    ),
    Mistake(
        "checkpoints",
        "a text file, in Python",
        lambda: MWBVAE.load_from_checkpoint(write("a.ckpt", "text")),
    ),
    Mistake("checkpoints", "no file", lambda: test_with("no.ckpt")),
    Mistake("checkpoints", "a text file", lambda: test_with(write("a.ckpt", "text"))),
    Mistake("checkpoints", "an empty file", lambda: test_with(write("a.ckpt", ""))),
    Mistake(
        "checkpoints", "code in it", lambda: test_with(saved("a.ckpt", {"state_dict": Opener()}))
    ),
    Mistake("checkpoints", "a function in its settings", lambda: test_with(calling("a.ckpt"))),
    Mistake(
        "checkpoints",
        "a function in its settings, in Python",
        lambda: MWBVAE.load_from_checkpoint(calling("a.ckpt")),
    ),
    Mistake("checkpoints", "no weights in it", lambda: test_with(saved("a.ckpt", {"epoch": 1}))),
    Mistake(
        "checkpoints",
        "of another model",
        lambda: test_with(weights_alone("a.ckpt", state_dict={"a": torch.ones(2)})),
    ),
    Mistake("classifiers", "a text file", lambda: judges(write("a.pt", "text"))),
    Mistake("classifiers", "an empty file", lambda: judges(write("a.pt", ""))),
    Mistake("classifiers", "code in the file", lambda: judges(saved("a.pt", {"score": Opener()}))),
    Mistake("classifiers", "of other networks", lambda: judges(saved("a.pt", {"state_dict": {}}))),
    Mistake("run folders", "no run", lambda: run("report", "nowhere")),
    Mistake(
        "run folders",
        "a broken results.json",
        lambda: run("report", str(finished_run(results="{"))),
    ),
    Mistake(
        "run folders",
        "a broken config.yaml",
        lambda: run("report", str(finished_run(config="a: ["))),
    ),
    Mistake("run folders", "of another version", lambda: run("report", str(finished_run()))),
    Mistake("run folders", "a run of something else", reproduce_into_another),
    Mistake("run folders", "of another run", fit_into_another),
]


def said(mistake: Mistake) -> str:
    """What is said of it, in one line."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            mistake.make()
        except MISTAKES as error:
            return " ".join(str(error).split())
    raise AssertionError(f"nothing was said of {mistake.area}: {mistake.what}")


def row(mistake: Mistake, text: str) -> str:
    """A row of the table."""
    escaped = text.replace("|", "\\|").replace("`", "'")
    return f"| {mistake.area} | {mistake.what} | `{escaped}` |"


def main() -> None:
    """Print the table."""
    lines = [HEADING, "| where | mistake | what is said |", "|---|---|---|"]
    for mistake in CASES:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            lines.append(row(mistake, said(mistake)))
            os.chdir("/")
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
