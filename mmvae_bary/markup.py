"""Tables of words in HTML, in Markdown and on a screen, with whatever they hold escaped."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

VOID = {"img", "meta", "source"}  # elements without an end


class Words(NamedTuple):
    """A table of words: a header, which may be empty, and rows, whose first cell is a name."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Html(str):
    """What is escaped already."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | int) -> Html:
    """An element, its children and attributes escaped unless they are :class:`Html`.

    Example:
        >>> element("p", "<script>", element("b", "!"), class_="quiet")
        '<p class="quiet">&lt;script&gt;<b>!</b></p>'
    """
    given = "".join(
        f' {name.rstrip("_")}="{escape(str(value))}"' for name, value in attributes.items()
    )
    inside = "".join(child if isinstance(child, Html) else escape(child) for child in children)
    return Html(f"<{tag}{given}>{inside}" + ("" if tag in VOID else f"</{tag}>"))


def html_table(words: Words, caption: str = "", **attributes: str) -> Html:
    """The table as an element, without any style, for a page or a notebook.

    Example:
        >>> html_table(Words([], [["width", "20"]]), "q(z | x)")
        '<table><caption>q(z | x)</caption><tbody><tr><th scope="row">width</th><td>20</td></tr></tbody></table>'
    """  # noqa: E501
    above = [element("caption", caption)] if caption else []
    if words.header:
        labels = (element("th", text, scope="col") for text in words.header)
        above.append(element("thead", element("tr", *labels)))
    rows = (
        element("tr", element("th", first, scope="row"), *(element("td", text) for text in rest))
        for first, *rest in words.rows
    )
    return element("table", *above, element("tbody", *rows), **attributes)


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], rule: str = "---:"
) -> str:
    """The table in Markdown, of cells that are escaped already, numbers unless told otherwise."""
    lines = [header, ["---", *[rule] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_words(words: Words) -> str:
    """The table in Markdown, its cells escaped."""
    lines = [words.header, *words.rows]
    header, *rows = ([markdown_text(cell) for cell in line] for line in lines)
    return markdown_table(header, rows, rule="---")


def markdown_text(text: str) -> str:
    """The text in Markdown, none of whose signs means anything."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text)


def text_table(words: Words, indent: str = "  ") -> str:
    """The table in plain text, in columns.

    Example:
        >>> print(text_table(Words(["name", "width"], [["image", "20"]])))
          name   width
          image  20
    """
    lines = [*([words.header] if words.header else []), *words.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(indent + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def sizes(shape: Sequence[int]) -> str:
    """A shape, such as 3 × 28 × 28."""
    return " × ".join(map(str, shape))


def span(tensor: Tensor) -> str:
    """From the smallest number of a tensor to the largest; a dash where there are none."""
    if not tensor.numel():
        return "–"
    low, high = (f"{bound.item():.3g}" for bound in (tensor.min(), tensor.max()))
    return low if low == high else f"{low} to {high}"
