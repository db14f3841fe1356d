"""Saved models: weights, settings and a model card, in a folder or on the Hugging Face Hub."""

from __future__ import annotations

import json
from abc import abstractmethod
from argparse import ArgumentError
from copy import deepcopy
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml
from lightning.pytorch import LightningModule

from mmvae_bary.checks import named_class, reason_of, refuse_functions
from mmvae_bary.markup import Words, markdown_words
from mmvae_bary.writing import whole, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

PACKAGE = "mmvae-bary"
PLAIN = ("latent_dim", "beta", "warmup_steps", "reconstruction_weights", "covariance")
WEIGHTS, SETTINGS, CARD = "model.safetensors", "config.json", "README.md"
EXPECTED = "a folder of save_pretrained, or a repository OWNER/NAME of the Hub"
CITATION = """\
@inproceedings{qiu2025multimodal,
  title = {Multimodal Variational Autoencoder: a Barycentric View},
  author = {Qiu, Peijie and Zhu, Wenhui and Kumar, Sayantan and Chen, Xiwen and Yang, Jin and
            Sun, Xiaotong and Razi, Abolfazl and Wang, Yalin and Sotiras, Aristeidis},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  year = {2025}
}
"""


class Pretrained(LightningModule):
    """What can be saved to a folder with a model card, and shared through the Hugging Face Hub.

    A folder holds the files that the Hub's own ``PyTorchModelHubMixin`` writes:
    ``model.safetensors``, ``config.json`` and ``README.md``. No file holds code. A model of the
    command line is restored from its settings, in which networks are class paths; a model made in
    Python from networks that no file can name is restored by ``from_pretrained(folder,
    modalities=...)``, given the same networks anew. Takes ``pip install 'mmvae-bary[hub]'``.
    """

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: as of other modules, not what was compiled."""
        state: dict[str, Any] = super().__getstate__()
        state.pop("_compiled_call_impl", None)
        return state

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What the model is, in words."""

    @abstractmethod
    def parts(self) -> Words:
        """A table of what it is made of."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Save weights, settings and, where there is none yet, a model card.

        Args:
            folder: Where to; made if it is not there.

        Raises:
            ImportError: Without the extra ``hub``.
            OSError: If it cannot be written, naming the file.
        """
        safetensors = _extra("safetensors.torch")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with whole(folder / WEIGHTS) as beside:
            safetensors.save_model(self, str(beside))
        write_whole(folder / SETTINGS, json.dumps(_settings(self), indent=2) + "\n")
        if not (folder / CARD).exists():  # people write into theirs
            write_whole(folder / CARD, model_card(self))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str = f"Push model using {PACKAGE}",
    ) -> str:
        """Upload what :meth:`save_pretrained` writes to the Hugging Face Hub.

        Args:
            repo_id: The repository, ``OWNER/NAME``; made if it is not there. Its card stays.
            private: Whether a repository that is made is seen by its owner only; the owner's
                default if None.
            token: Of the Hub; that of the last login if None.
            commit_message: What the commit says.

        Returns:
            The address of the commit.

        Raises:
            ImportError: Without the extra ``hub``.
        """
        hub = _extra("huggingface_hub").HfApi(token=token)
        repo_id = hub.create_repo(repo_id, private=private, exist_ok=True).repo_id
        kept = [CARD] if hub.file_exists(repo_id, CARD) else None
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            commit = hub.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message,
                ignore_patterns=kept,
            )
        return str(commit.commit_url)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        **arguments: Any,
    ) -> Self:
        """Load a model, in evaluation mode and on the CPU, from files that may not be trusted.

        Weights are read as tensors alone. The class must be this one or an imported subclass, and
        settings that name a function to be called are refused.

        Args:
            source: A folder of :meth:`save_pretrained`, or a repository of the Hub.
            revision: Branch, tag or commit of a repository.
            token: Of the Hub, for private repositories.
            arguments: Of the class, in place of the saved ones: ``modalities``, and a
                ``barycenter`` if it was not the class's own, of a model that was made in Python.

        Raises:
            ImportError: Without the extra ``hub``.
            ValueError: If it is no such folder, damaged, of another class or of other networks.
        """
        safetensors = _extra("safetensors.torch")
        folder = _folder(source, revision, token)
        model: Self = _made(cls, _read_settings(folder), arguments, folder)
        try:
            safetensors.load_model(model, str(folder / WEIGHTS))
        except _extra("safetensors").SafetensorError:
            raise ValueError(
                f"got {folder / WEIGHTS}, which is damaged, expected weights"
            ) from None
        except RuntimeError as error:
            reason = " ".join(" ".join(str(error).splitlines()[:2]).split())
            raise ValueError(f"{folder / WEIGHTS}: of other networks: {reason}") from None
        model.eval()
        return model


def hyperparameters(class_path: str, init_args: Mapping[str, Any]) -> dict[str, Any]:
    """What checkpoints keep of a model that is made from settings, to be made of them again."""
    instantiator = "lightning.pytorch.cli.instantiate_module"
    return {**init_args, "_class_path": class_path, "_instantiator": instantiator}


def path_of(cls: type) -> str:
    """The dotted path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def model_card(model: Pretrained) -> str:
    """What a folder says of its model, in Markdown with the Hub's heading in YAML."""
    name = type(model).__name__
    heading = {
        "library_name": PACKAGE,
        "tags": ["multimodal", "variational-autoencoder", "barycenter"],
    }
    parts, facts = model.parts(), Words(["", ""], list(model.facts().items()))
    load = f'{name}.from_pretrained("FOLDER or OWNER/NAME"{_to_be_given(model)})'
    return "\n\n".join(
        [
            f"---\n{yaml.safe_dump(heading, sort_keys=False)}---",
            f"# {name}",
            "A multimodal variational autoencoder, whose joint posterior is a barycenter of the "
            "posteriors of its modalities, any of which may be missing.",
            markdown_words(facts),
            markdown_words(parts),
            "## How to load it",
            f"`pip install '{PACKAGE}[hub]'`, then",
            f"```python\nfrom {_module(model)} import {name}\n\n"
            f"model = {load}\n"
            f"posterior = model.encode({{{json.dumps(parts.rows[0][0])}: x}})\n```",
            "It takes and gives the model's scale; that of tables is known to their data module.",
            f"Saved with {PACKAGE} {version(PACKAGE)}.",
            "## Citation",
            f"```bibtex\n{CITATION}```\n",
        ]
    )


def _module(model: Pretrained) -> str:
    return type(model).__module__.replace("mmvae_bary.model", "mmvae_bary")


def _to_be_given(model: Pretrained) -> str:
    return "" if _is_described(model) else ", modalities={...}"


def _is_described(model: Pretrained) -> bool:
    """Whether settings are there of which the model can be made, as the command line leaves."""
    return "_class_path" in model.hparams


def _settings(model: Pretrained) -> dict[str, Any]:
    settings = {key: value for key, value in model.hparams.items() if key != "_instantiator"}
    return {
        "class_path": settings.pop("_class_path", path_of(type(model))),
        "init_args": settings,
        "networks_included": _is_described(model),
        "barycenter": model.facts()["barycenter"],
        "version": version(PACKAGE),
    }


def _folder(source: str | Path, revision: str | None, token: str | None) -> Path:
    """The folder, downloaded if it is none here but may be a repository."""
    folder = Path(source)
    if not folder.is_dir():
        hub = _extra("huggingface_hub")
        try:
            files = [WEIGHTS, SETTINGS]
            folder = Path(
                hub.snapshot_download(
                    str(source), revision=revision, token=token, allow_patterns=files
                )
            )
        except OSError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"got {str(source)!r}, expected {EXPECTED}: {reason}") from None
        except ValueError:  # no name of a repository
            raise ValueError(
                f"got {str(source)!r}, which is no folder, expected {EXPECTED}"
            ) from None
    for name in (SETTINGS, WEIGHTS):
        if not (folder / name).is_file():
            raise ValueError(f"got {folder} without {name}, expected a folder of save_pretrained")
    return folder


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        sound = isinstance(settings["init_args"], dict) and "class_path" in settings
    except (ValueError, LookupError, TypeError):
        sound = False
    if not sound:
        raise ValueError(f"got {path}, which is damaged, expected settings of save_pretrained")
    settings["init_args"].pop("_class_path", None)  # which jsonargparse would import
    refuse_functions(settings["init_args"], "init_args")
    found: dict[str, Any] = settings
    return found


def _made(
    base: type[Any], settings: dict[str, Any], arguments: dict[str, Any], folder: Path
) -> Any:
    """The model, with the weights that it starts with."""
    cls = named_class(settings["class_path"], base)
    saved = settings["init_args"]
    if settings.get("networks_included") and "modalities" not in arguments:
        return _described(cls, settings, arguments, folder)
    if "modalities" not in arguments:
        raise ValueError(
            f"got {folder}, a model made in Python, whose networks no file names, expected "
            f"{cls.__name__}.from_pretrained(FOLDER, modalities=...) with networks like its own"
        )
    plain = {name: saved[name] for name in PLAIN if name in saved}
    model = cls(**plain | arguments)
    was, given = settings.get("barycenter"), model.facts()["barycenter"]
    if was != given:
        raise ValueError(
            f"got the barycenter {given}, expected {was}, which {folder} was saved with: pass "
            "barycenter=..."
        )
    return model


def _described(
    cls: type[Any], settings: dict[str, Any], arguments: dict[str, Any], folder: Path
) -> Any:
    """A model that settings tell all of, its networks by their class paths."""
    from lightning.pytorch.cli import instantiate_module

    saved = settings["init_args"]
    try:
        model = instantiate_module(cls, deepcopy(saved) | arguments)  # it edits what it gets
    except (ArgumentError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder / SETTINGS}: got settings that make no {cls.__name__}, of which each class "
            f"must be installed: {reason_of(error)}"
        ) from None
    if not arguments:  # the settings describe it still
        model.save_hyperparameters(hyperparameters(settings["class_path"], saved))
    return model


def _extra(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ImportError(
            f"saved models: got no {module.partition('.')[0]}, expected "
            f"pip install '{PACKAGE}[hub]'"
        ) from None
