"""The ``mmvae`` command: LightningCLI with packaged configurations and a test after a fit."""

from __future__ import annotations

import json
import logging
import re
import shlex
import sys
import warnings
from argparse import (
    ArgumentError,
    ArgumentParser,
    ArgumentTypeError,
)
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from inspect import isclass, signature
from pathlib import Path
from signal import SIGTERM
from typing import Any, NoReturn

import torch
import yaml
from jsonargparse import Namespace
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException as LightningError
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
    instantiate_class,
)
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from mmvae_bary import barycenters, callbacks, likelihoods, networks
from mmvae_bary import data as data_modules
from mmvae_bary.callbacks import (
    BELOW_GATE,
    NO_CLASSIFIERS,
    CoherenceCallback,
    PredictionCallback,
    ResultsCallback,
    RunCheckpoint,
    RunProgressBar,
    SampleGridCallback,
    WholeCheckpointIO,
    check_weights,
    read_weights,
)
from mmvae_bary.callbacks.base import run_folder
from mmvae_bary.checks import check_at_least, reason_of, refuse_functions
from mmvae_bary.data import DigitsDataModule, MultimodalDataModule
from mmvae_bary.model import MWBVAE, WBVAE, MoEVAE, MoPoEVAE, MultimodalVAE, PoEVAE
from mmvae_bary.plans import BENCHMARKS, CONFIG_OPTIONS, PACKAGED, find_config
from mmvae_bary.pretrained import hyperparameters
from mmvae_bary.runs import as_list

CHANGED = ("--model", "--data", "--trainer")  # what options of a configuration start with
FOUND_BY_LIGHTNING = (None, "last", "best", "hpc")  # in place of the path of a checkpoint
MODELS = (PoEVAE, MoEVAE, MoPoEVAE, WBVAE, MWBVAE)
EPILOG = (
    f"Packaged configurations, for --config: {', '.join(sorted(PACKAGED))}. "
    "mmvae classifiers fit --config NAME trains the classifiers that judge coherence. "
    "mmvae reproduce BENCHMARK makes and reports all models over several seeds; "
    "mmvae report RUNS reports what there is. Both have a --help of their own. "
    "A mistake gets one line; --debug shows where it was found."
)
DEBUG = "--debug"
MISTAKES = (
    ValueError,
    TypeError,
    OSError,
    ArgumentError,
    ImportError,
    FloatingPointError,
    LightningError,
)
# What Lightning warns of and no user could mend
NOISE = (
    ".*LeafSpec.* is deprecated",  # its own call, with torch 2.15
    "The dirpath has changed from",  # a resumed run has a folder of its own
    "The number of training batches .* is smaller than the logging interval",  # counted on
)
ADVERTS = "💡 Tip: "  # Lightning's, for its makers' services
# In place of Lightning's, which end in the middle of a sentence
HELP = {
    "fit": "Train a model, and test the weights that training ended with.",
    "validate": "Evaluate a checkpoint on the validation set.",
    "test": "Evaluate a checkpoint on the test set.",
    "predict": "Write latents and imputed modalities of all samples to a file.",
}


class MultimodalCLI(LightningCLI):
    """``mmvae fit | validate | test | predict``; a fit ends with a test of its last weights."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give every run what its folder promises: checkpoints, samples and results."""
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(SampleGridCallback, "samples")
        parser.add_lightning_class_args(ResultsCallback, "results")
        parser.add_lightning_class_args(PredictionCallback, "predictions")
        # at the end of training too, and not only after a validation
        parser.set_defaults(
            {"checkpoint.save_last": True, "checkpoint.save_on_train_epoch_end": True}
        )

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        """Say of each subcommand what it does here."""
        super()._add_subcommands(parser, **kwargs)
        action: Any = parser._subcommands_action
        for choice in action._choices_actions:
            choice.help = HELP[choice.dest]

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the arguments, packaged configurations looked up."""
        assert args is None or isinstance(args, list)
        given = sys.argv[1:] if args is None else args
        _refuse_undone(given)
        given = _packaged(given)
        self.config = parser.parse_args(given)
        self._refuse_functions()  # before the data are made, to say what they hold
        self.read: MultimodalDataModule | None = None
        if said := self._modalities():
            # parsed, so that they are checked and stand in the run's configuration
            option = f"--model.init_args.modalities={json.dumps(said)}"
            self.config = parser.parse_args([*given, option])
        self.checkpoint = self._checkpoint()

    def _checkpoint(self) -> tuple[Path, Mapping[str, Tensor]] | None:
        """The checkpoint to start from and its weights, refused before time is spent."""
        path = self._given.get("ckpt_path")
        if path in FOUND_BY_LIGHTNING:
            return None
        resumed = self.config.get("subcommand") == "fit"
        return Path(path), read_weights(Path(path), resumed=resumed)

    @property
    def _given(self) -> Namespace:
        """What was given to the subcommand or, without one, to all."""
        given: Namespace = self.config
        return given[given.subcommand] if "subcommand" in given else given

    def _modalities(self) -> dict[str, Any]:
        """What the data say of modalities that the model was not told."""
        config = self._given
        if config.model is None or config.data is None or config.model.init_args.modalities:
            return {}
        self.read = instantiate_class((), config.data.as_dict())
        said: dict[str, Any] = getattr(self.read, "specifications", dict)()
        return said

    def instantiate_classes(self) -> None:
        """Build everything; checkpoints keep the model's YAML, to be loaded from Python."""
        super().instantiate_classes()
        if self.read and self.subcommand == "fit":  # else a checkpoint says what data are like
            self.datamodule = self.read  # not to read the same twice
        settings = self.config_dump["model"]
        self.model.save_hyperparameters(hyperparameters(**settings))
        strategy = self.trainer.strategy
        if type(strategy.checkpoint_io) is TorchCheckpointIO:  # and not a user's choice
            strategy.checkpoint_io = WholeCheckpointIO()
        if self.subcommand is not None:
            _refuse_another_run(self.trainer)
        if self.checkpoint:
            check_weights(*self.checkpoint, self.model)

    def _refuse_functions(self) -> None:
        refuse_functions(self._given.as_dict())

    def before_instantiate_classes(self) -> None:
        """Refuse to predict with nothing; print one table of an evaluation; show a bar."""
        self._refuse_functions()  # a checkpoint has brought the settings of its model
        trainer = self._given.trainer
        counts = ("accumulate_grad_batches", "check_val_every_n_epoch")
        check_at_least(1, **{name: trainer[name] for name in counts})
        if trainer.enable_progress_bar is not False and not _has_bar(trainer.callbacks):
            self.trainer_defaults["callbacks"] = [RunProgressBar()]
        if self.subcommand is None:
            return
        if self.subcommand in {"validate", "test"}:
            self.config[self.subcommand].verbose = False
        if self.subcommand == "predict":  # written to a file as they come
            if self._given.ckpt_path is None:
                raise ValueError("got nothing to predict with, expected --ckpt_path FILE")
            self.config["predict"].return_predictions = False
        _group(self.config[self.subcommand])

    def after_fit(self) -> None:
        """Judge the weights that training ended with, unless there is nothing to judge by."""
        if "test" in self.datamodule.datasets:
            self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)


def _has_bar(callbacks: Any) -> bool:
    paths = [getattr(callback, "class_path", "") for callback in as_list(callbacks)]
    return any("ProgressBar" in path for path in paths)


def _refuse_another_run(trainer: Trainer) -> None:
    """Before loggers delete what stands in a folder that has a configuration already."""
    folder = run_folder(trainer)
    if trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
        return
    if (folder / "config.yaml").is_file():
        raise FileExistsError(
            f"got {folder}, the folder of another run, expected a new one: leave the logger as it "
            "was, or say --trainer.logger CSVLogger --trainer.logger.save_dir runs"
        )


def _group(config: Namespace) -> None:
    """Name and group runs on Weights & Biases by benchmark and model, unless told otherwise."""
    for logger in as_list(config.trainer.logger):
        if getattr(logger, "class_path", "").endswith("WandbLogger"):
            model, data = (config[key].class_path.rpartition(".")[2] for key in ("model", "data"))
            benchmark = data.removesuffix("DataModule")
            seed = config.seed_everything
            own = {"group": benchmark, "job_type": model, "name": f"{model} {seed}",
                   "tags": [benchmark, model, f"seed {seed}"]}  # fmt: skip
            for key, value in own.items():
                if logger.init_args.get(key) is None:
                    logger.init_args[key] = value


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    A mistake is one line; with ``--debug`` among the arguments, a traceback.

    Args:
        args: Arguments after the program's name; those of the process if None.
    """
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)
    args = sys.argv[1:] if args is None else args
    debug, args = DEBUG in args, [arg for arg in args if arg != DEBUG]
    if not debug:
        warnings.formatwarning = lambda message, *_, **__: f"mmvae: warning: {message}\n"
    _say_above_bars()
    if (here := str(Path.cwd())) not in sys.path:  # a script's own folder stands there instead
        sys.path.insert(0, here)
    try:
        if args and args[0] in COMMANDS:
            COMMANDS[args[0]](args[1:])
        else:
            _cli(args, run=True)
    except SIGTERMException:
        sys.stderr.write("mmvae: told to stop; --ckpt_path goes on from the run's last.ckpt\n")
        sys.exit(128 + SIGTERM)
    except (*MISTAKES, MemoryError, RuntimeError) as error:
        if debug or not (isinstance(error, MISTAKES) or _out_of_memory(error)):
            raise
        sys.exit(f"mmvae: error: {_said(error)} ({DEBUG} shows where)")


class _AboveBars(logging.Handler):
    """To the standard error of the moment, which a bar that is shown moves above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        if not record.getMessage().startswith(ADVERTS):
            sys.stderr.write(f"{self.format(record)}\n")


def _say_above_bars() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers = [
            _AboveBars() if type(handler) is logging.StreamHandler else handler
            for handler in logger.handlers
        ]


class _SaveConfig(SaveConfigCallback):
    """Keep the configuration in the run's folder, and on Weights & Biases, whole as well."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Called by Lightning on the first process."""
        said = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(said)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave no empty folder of a run that was refused; called by Lightning."""
        # by what loggers say: other processes, which the trainer would ask, may be elsewhere
        folders = [logger.log_dir for logger in trainer.loggers if logger.log_dir]
        for folder in folders if trainer.is_global_zero else []:
            with suppress(OSError):  # there is none, or it is of a run that had begun
                Path(folder).rmdir()


class _ConfigurationCLI(MultimodalCLI):
    """What a configuration says, without a subcommand."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Take what a run keeps in its ``config.yaml`` too."""
        super().add_arguments_to_parser(parser)
        for name in ("ckpt_path", "weights_only"):
            parser.add_argument(f"--{name}", default=None, help="of mmvae fit; not used")


def _cli(args: list[str], *, run: bool) -> MultimodalCLI:
    quiet = {"exit_on_error": False}  # errors are raised, for _said to shorten
    subcommands = {name: {**quiet, "description": said} for name, said in HELP.items()}
    return (MultimodalCLI if run else _ConfigurationCLI)(
        MultimodalVAE,
        MultimodalDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_callback=_SaveConfig,
        parser_kwargs={
            **quiet,
            "description": "Train and judge multimodal VAEs.",
            "epilog": EPILOG,
            **(subcommands if run else {}),
        },
        run=run,
        args=args,
    )


def _classifiers(args: list[str]) -> None:
    """``mmvae classifiers fit``: train those of a configuration, unless that was done before."""
    from rich.console import Console

    parser = _Parser(
        "classifiers",
        "Train the classifiers that judge coherence, unless that was done before, and say how "
        "well they read real test data: mmvae classifiers fit --config NAME. Further options are "
        "those of mmvae fit.",
    )
    parser.add_argument("fit", choices=["fit"], help="train them, or load those that were kept")
    parser.parse_args(args[:1])
    cli = _cli(args[1:], run=False)
    trainer: Any = cli.trainer
    data = cli.datamodule
    judges = [judge for judge in trainer.callbacks if isinstance(judge, CoherenceCallback)]
    if not judges:
        raise ValueError(f"got {NO_CLASSIFIERS}, expected one")
    trainer.datamodule, data.trainer = data, trainer
    data.prepare_data()
    data.setup("fit")
    for judge in judges:
        path = judge.fit_classifiers(trainer)
        for name, score in judge.classifiers.score.items():
            Console().print(f"{name}: {score:.3f} on the test set, gate {judge.gate[name]}")
        Console().print(f"The classifiers are in {path}")
        if judge.unfit:
            raise ValueError(f"{BELOW_GATE}: {', '.join(judge.unfit)}")


class _Parser(ArgumentParser):
    """For commands that Lightning knows nothing of; a mistake is an error like any other."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            prog=f"mmvae {command}",
            description=description,
            allow_abbrev=False,  # --model is not --models
        )

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} ({self.prog} --help)")


def _reproduce(args: list[str]) -> None:
    """``mmvae reproduce``: all models and seeds of a benchmark, and the report."""
    from mmvae_bary.reproduce import reproduce

    parser = _Parser(
        "reproduce",
        "Train and evaluate models with several seeds, each in FOLDER/BENCHMARK/MODEL/seed_N, and "
        "report on them in FOLDER/BENCHMARK/report.html. The same command again computes only "
        "what is missing. Any further option is one of mmvae fit, for every run: "
        "--trainer.max_steps 1000, --data.init_args.root FOLDER, --config wandb.yaml.",
    )
    benchmark = f"{', '.join(BENCHMARKS)}, or a YAML file for mmvae fit"
    parser.add_argument("benchmark", metavar="BENCHMARK", help=benchmark)
    names = ", ".join(cls.__name__ for cls in MODELS)
    models = f"some of {names}, or classes by their dotted path; all by default"
    parser.add_argument("--models", nargs="+", default=["all"], metavar="MODEL", help=models)
    parser.add_argument("--seeds", type=_count, default=5, help="how many, from 0; 5 by default")
    folder = "of the runs and the report; %(default)s by default"
    parser.add_argument("--folder", type=Path, default=Path("runs/reproduce"), help=folder)
    parser.add_argument(
        "--jobs", type=_count, default=1, help="how many runs at once; 1 by default"
    )
    given, options = parser.parse_known_args(args)
    command = shlex.join(["mmvae", "reproduce", *args])
    try:
        reproduce(**vars(given), options=options, command=command)
    except KeyboardInterrupt:
        sys.stderr.write("mmvae: stopped; the same command goes on from here\n")
        sys.exit(130)


def _report(args: list[str]) -> None:
    """``mmvae report``: a report of runs that are there."""
    from rich.console import Console

    from mmvae_bary.report import report

    parser = _Parser(
        "report",
        "Report on finished runs: means and deviations over seeds in tables like the paper's, "
        "curves and samples, as report.html, report.md, tables.tex and tables.csv.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    folder = "of the report; %(default)s by default"
    parser.add_argument("--folder", type=Path, default=Path("report"), help=folder)
    given = parser.parse_args(args)
    page = report(given.runs, given.folder, shlex.join(["mmvae", "report", *args]))
    Console().print(f"The report is {page}", markup=False, soft_wrap=True)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"got {text!r}, expected a number from 1")
    return int(text)


COMMANDS = {"classifiers": _classifiers, "reproduce": _reproduce, "report": _report}


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # on the CPU torch has no class of its own for it
    return isinstance(error, RuntimeError) and "allocate" in str(error)


def _said(error: BaseException) -> str:
    """What went wrong, without the settings that jsonargparse repeats around it."""
    if _out_of_memory(error):
        return (
            "out of memory, expected enough for a batch: lower --data.init_args.batch_size in "
            "training, --data.init_args.eval_batch_size in evaluation"
        )
    misspelt = isinstance(error, ArgumentError)
    message = reason_of(error)
    if "Expected an instantiatable class" in message:
        message += ": options come after the --config, or the --model or --data, that they change"
    keys = dict.fromkeys(re.findall(r'[Pp]arser key "([^"]+)"', str(error)))
    if option := ".".join(key for key in keys if key not in message):
        message = f"{option}: {message}"
    return message + _suggestion(message) if misspelt else message


def _suggestion(message: str) -> str:
    names = {name for cls in MODELS for name in [cls.__name__, *signature(cls).parameters]}
    for module in (barycenters, callbacks, data_modules, likelihoods, networks):
        found = vars(module).items()
        names.update(name for name, x in found if isclass(x) and __package__ in x.__module__)
    names.update(signature(Trainer).parameters, signature(DigitsDataModule).parameters)
    words = [word for word in re.findall(r"\w+", message) if word not in names]
    near = [match for word in words for match in get_close_matches(word, names, 1, cutoff=0.8)]
    return f"; did you mean {near[0]!r}?" if near else ""


def _refuse_undone(args: list[str]) -> None:
    """Refuse options before the first configuration, which would undo them."""
    places = [p for p, arg in enumerate(args) if arg.partition("=")[0] in CONFIG_OPTIONS]
    undone = [arg for arg in args[: min(places, default=0)] if arg.startswith(CHANGED)]
    if undone:
        raise ValueError(
            f"got {undone[0].partition('=')[0]} before the configuration, which would undo it, "
            "expected --config first"
        )


def _packaged(args: list[str]) -> list[str]:
    """Look up each ``--config NAME`` that is no file here among the packaged configurations."""
    result = []
    for position, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if option in CONFIG_OPTIONS and equals:
            result.append(f"{option}={find_config(value)}")
        elif position and args[position - 1] in CONFIG_OPTIONS:
            result.append(find_config(arg))
        else:
            result.append(arg)
    return result


if __name__ == "__main__":
    main()
