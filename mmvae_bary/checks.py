"""What is refused before it is used: numbers, and files that may not be trusted."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from pydoc import ErrorDuringImport, locate
from typing import Any, TypeVar, get_args, get_type_hints

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

T = TypeVar("T")
HALF = ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")
# What torch raises of a file that is damaged, something else, or holds code
UNREADABLE = (UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, AttributeError)


def check_at_least(smallest: int, **numbers: float | None) -> None:
    """Refuse numbers below the smallest; None is no number.

    Raises:
        ValueError: Naming the number, what came and what was expected.
    """
    for name, number in numbers.items():
        if number is not None and not number >= smallest:
            raise ValueError(f"got {name}={number}, expected at least {smallest}")


def check_one_of(choices: Any, **settings: object) -> None:
    """Refuse what is none of the choices, a ``Literal``.

    Raises:
        ValueError: Naming the setting, what came and what was expected.
    """
    for name, setting in settings.items():
        if setting not in get_args(choices):
            raise ValueError(f"got {name}={setting!r}, expected one of {get_args(choices)}")


def read_checkpoint(source: Any) -> dict[str, Any]:
    """Read a checkpoint of Lightning as tensors and plain values.

    Args:
        source: A path, whose tensors stay on the disk until they are looked at, a URL, or a file,
            which is left at its start.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, something else, or holds more than it may.
    """
    try:
        content = _read(source)
        whole = content.keys() >= {"state_dict", "pytorch-lightning_version"}
    except UNREADABLE:  # torch's own words would advise to load it all the same
        whole = False
    if not whole:
        raise ValueError(
            f"got {source}, which is damaged, no checkpoint of Lightning or holds code, expected "
            "one of tensors and plain values"
        )
    return content


def _read(source: Any) -> dict[str, Any]:
    content: dict[str, Any]
    if not isinstance(source, str | Path):
        content = torch.load(source, map_location="cpu", weights_only=True)
        source.seek(0)
    elif Path(source).is_file():
        content = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    else:
        content = TorchCheckpointIO().load_checkpoint(source, weights_only=True)
    return content


def refuse_functions(settings: Any, option: str = "") -> None:
    """Refuse settings that name, as a ``class_path``, a function that makes no network.

    jsonargparse holds classes to the option's type, but where that is a callable it calls any
    function with the settings beside it, and so runs whatever a file says. Functions that say
    that they return a :class:`torch.nn.Module`, as torchvision's do, stay allowed.

    Args:
        settings: What was parsed, or a checkpoint's hyperparameters: mappings, sequences, values.
        option: Where they stand, as on the command line.

    Raises:
        ValueError: Naming the option and the function, of which nothing was called.
    """
    if isinstance(settings, Mapping):
        path = settings.get("class_path")
        if isinstance(path, str) and not _makes_what_it_says(path):
            raise ValueError(
                f"{option}: got {path!r}, expected a class, or a function that says that it "
                "returns a torch.nn.Module"
            )
        for key, value in settings.items():
            refuse_functions(value, f"{option}.{key}".lstrip("."))
    elif isinstance(settings, Sequence) and not isinstance(settings, str | bytes):
        for position, value in enumerate(settings):
            refuse_functions(value, f"{option}[{position}]")


def named_class(path: Any, base: type[T]) -> type[T]:
    """The class that a file names, of those that are imported: none is, because a file says so.

    Args:
        path: Its dotted path, as jsonargparse writes it.
        base: What it is to be, or to be a subclass of.

    Raises:
        ValueError: If it is another class, or none that is imported.
    """
    module, _, name = str(path).rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    if not inspect.isclass(found) or not issubclass(found, base):
        raise ValueError(
            f"got a model of class {path!r}, expected {base.__name__} or an imported subclass"
        )
    return found


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse half precision alone, and warn of bfloat16 on a processor that is slow in it.

    Where torch cannot say what the processor has, nothing is said.

    Raises:
        ValueError: If all is to be in half precision, where fusion is not.
    """
    if precision in HALF:
        raise ValueError(
            f"got precision {precision}, in which fusion would not be exact enough, expected "
            "32-true, 64-true, bf16-mixed or 16-mixed"
        )
    if device.type != "cpu" or not precision.startswith("bf16"):
        return
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    native = [has for name, has in capabilities.items() if "bf16" in name]
    if native and not any(native):
        rank_zero_warn(
            f"got precision {precision} on a processor that does not multiply in bfloat16, where "
            "it is 10 to 80 times slower than 32-true"
        )


def reason_of(error: BaseException) -> str:
    """What went wrong first, in one line, without what was said around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())


def _makes_what_it_says(path: str) -> bool:
    """Whether a path is that of a class, or of a function that returns a network."""
    try:
        found = locate(path)
    except ErrorDuringImport:
        return True  # nothing that could be called, and jsonargparse says why
    if found is None or inspect.isclass(found):
        return True  # a short name is looked up among the classes of the option's type
    try:
        returned = get_type_hints(found).get("return")
    except (NameError, TypeError):
        return False
    return inspect.isclass(returned) and issubclass(returned, nn.Module)
