"""Settings that come from files: which of them may be called."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pydoc import ErrorDuringImport, locate
from typing import Any, get_type_hints

from torch import nn


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
