"""Short texts as symbol indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

# 71 symbols, "-" twice, as in the reference code
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"\\/|_@#$%^&*~`+-=<>()[]{} \n"
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def encode_texts(texts: Sequence[str], length: int, alphabet: str, padding: str = " ") -> Tensor:
    """Symbol indices of texts at the left of their places.

    Args:
        texts: Texts of at most ``length`` symbols of the alphabet.
        length: Places of each text.
        alphabet: The symbols; of one that occurs twice the first place counts.
        padding: The symbol that fills the rest.

    Returns:
        Bytes of shape ``(len(texts), length)``.

    Raises:
        ValueError: If a text is too long or has a symbol that is none of the alphabet's.

    Example:
        >>> encode_texts(["cab", "b"], 4, " abc")
        tensor([[3, 1, 2, 0],
                [2, 0, 0, 0]], dtype=torch.uint8)
    """
    for text in texts:
        if len(text) > length or not set(text) <= set(alphabet):
            raise ValueError(f"got the text {text!r}, expected at most {length} of {alphabet!r}")
    index = {symbol: place for place, symbol in reversed(list(enumerate(alphabet)))}
    table = np.zeros(128, np.uint8)
    table[[ord(symbol) for symbol in index]] = list(index.values())
    padded = "".join(text.ljust(length, padding) for text in texts).encode("ascii")
    return torch.from_numpy(table[np.frombuffer(padded, np.uint8)]).reshape(-1, length)


def shift_right(symbols: Tensor, starts: Tensor) -> Tensor:
    """Move each row of symbols to its start; what leaves at the right enters at the left.

    Args:
        symbols: Shape ``(N, L)``.
        starts: Shape ``(N,)``.
    """
    length = symbols.shape[-1]
    places = torch.arange(length, device=symbols.device) - starts.unsqueeze(-1)
    return symbols.gather(1, places % length)
