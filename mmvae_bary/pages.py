"""A report as a self-contained page, as Markdown, as LaTeX tables and as values in CSV."""

from __future__ import annotations

import base64
import csv
import io
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from mmvae_bary.markup import (
    Html,
    Words,
    element,
    html_table,
    markdown_table,
    markdown_text,
    markdown_words,
)
from mmvae_bary.tables import SIGNIFICANCE, Cell, Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

LATEX = {
    **{symbol: f"\\{symbol}" for symbol in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "→": r"$\to$",
    "±": r"$\pm$",
}


class Picture(NamedTuple):
    """A figure in SVG, for white and for black paper."""

    light: bytes
    dark: bytes


@dataclass(frozen=True)
class Report:
    """What a report says.

    Args:
        title: Its heading.
        summary: A line below it.
        command: What made it.
        remarks: What must be known before any number is read.
        tables: The tables to be read.
        everything: All tables, for CSV.
        pictures: Heading to a figure.
        grids: Model to its pictures of samples, by caption.
        facts: Heading to a table of words.
        settings: Model to its settings in YAML.
    """

    title: str
    summary: str
    command: str
    remarks: Sequence[str]
    tables: Sequence[Table]
    everything: Sequence[Table]
    pictures: Mapping[str, Picture]
    grids: Mapping[str, Mapping[str, Path]]
    facts: Mapping[str, Words]
    settings: Mapping[str, str]

    def _repr_html_(self) -> str:
        """In a notebook: what must be known, and the tables."""
        tables = [part for table in self.tables for part in (_heading(table), *_numbers(table))]
        return element("div", *_header(self), *tables)


def number(cell: Cell, digits: int) -> str:
    """A cell's mean and, over several seeds, its deviation."""
    return _spread(cell.mean, cell.deviation, digits)


def printed(cell: Cell, digits: int) -> str:
    """What was published for a cell, in its own decimals; nothing where nothing was."""
    if cell.published is None:
        return ""
    mean, deviation = cell.published
    if digits > 1:
        return _spread(mean, deviation, 2)
    decimals = 0 if deviation is None or deviation >= 10 else 1
    return f"{mean:.0f}" + ("" if deviation is None else f" ± {deviation:.{decimals}f}")


def notes(table: Table) -> list[str]:
    """What stands under a table."""
    seeds = {len(cell.values) for cells in table.rows.values() for cell in cells if cell}
    several = max(seeds, default=1) > 1
    return [
        table.caption,
        *(["Mean ± sample standard deviation over seeds."] if several else ["One seed."]),
        *([SIGNIFICANCE] if several and len(table.rows) > 1 else []),
        *([f"Below or in brackets: {table.published_in}."] if table.published_in else []),
    ]


def _spread(mean: float, deviation: float | None, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def _groups(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """The headings above the columns and how many of them each is above."""
    return [
        (name, len(list(found))) for name, found in groupby(columns, lambda column: column.group)
    ]


def page(report: Report) -> str:
    """The report as one HTML page that needs nothing else."""
    style = Html((files("mmvae_bary") / "report.css").read_text(encoding="utf-8"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", report.title),
        element("style", style),
    )
    body = element("body", *_header(report), *_sections(report))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(report: Report) -> Iterator[Html]:
    yield element("h1", report.title)
    yield element("p", report.summary, class_="quiet")
    if report.remarks:
        items = (element("li", remark) for remark in report.remarks)
        yield element("ul", *items, class_="remarks")


def _sections(report: Report) -> Iterator[Html]:
    for table in report.tables:
        yield element("section", _heading(table), *_numbers(table))
    for title, picture in report.pictures.items():
        yield element("section", element("h2", title), _picture(title, picture))
    if report.grids:
        yield element("section", element("h2", "Samples"), *_grids(report.grids))
    for title, words in report.facts.items():
        yield element("section", element("h2", title), _words(words))
    settings = (_folded(label, element("pre", text)) for label, text in report.settings.items())
    yield element("section", element("h2", "Settings"), *settings)
    yield element("section", element("h2", "Command"), element("pre", report.command))


def _heading(table: Table) -> Html:
    return element("h2", table.title)


def _numbers(table: Table) -> Iterator[Html]:
    labels = [element("th", column.label, scope="col") for column in table.columns]
    head = [element("tr", element("th"), *labels)]
    if any(column.group for column in table.columns):
        above = [
            element("th", name, colspan=width, class_="group")
            for name, width in _groups(table.columns)
        ]
        head.insert(0, element("tr", element("th"), *above))
    rows = [
        element("tr", element("th", model, scope="row"), *(_cell(x, table.digits) for x in cells))
        for model, cells in table.rows.items()
    ]
    yield _scrolled(element("table", element("thead", *head), element("tbody", *rows)))
    yield element("p", " ".join(notes(table)), class_="quiet")


def _cell(cell: Cell | None, digits: int) -> Html:
    if cell is None:
        return element("td", "–")
    mean, space, deviation = number(cell, digits).partition(" ")
    strong = element("b", mean) if cell.best else mean
    beside = [element("span", space + deviation, class_="quiet")] if deviation else []
    below = [element("small", printed(cell, digits))] if cell.published else []
    return element("td", strong, *beside, *below)


def _words(words: Words) -> Html:
    return _scrolled(html_table(words, class_="words"))


def _scrolled(content: Html) -> Html:
    return element("div", content, class_="scroll")


def _picture(title: str, picture: Picture) -> Html:
    dark = element(
        "source",
        srcset=_inline(picture.dark, "svg+xml"),
        media="(prefers-color-scheme: dark)",
    )
    light = element("img", src=_inline(picture.light, "svg+xml"), alt=title, class_="curves")
    return _scrolled(element("picture", dark, light))


def _grids(grids: Mapping[str, Mapping[str, Path]]) -> Iterator[Html]:
    for label, pictures in grids.items():
        found = (
            element("figure", element("img", src=_inline(path.read_bytes(), "png"), alt=caption))
            for caption, path in pictures.items()
        )
        yield _folded(label, element("div", *found, class_="grids"), open="")


def _folded(title: str, content: Html, **attributes: str) -> Html:
    return element("details", element("summary", title), content, **attributes)


def _inline(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def markdown(
    report: Report, pictures: Mapping[str, str], grids: Mapping[str, Mapping[str, str]]
) -> str:
    """The report as Markdown.

    Args:
        report: What to say.
        pictures: Heading of a figure to its address.
        grids: Model to the addresses of its pictures of samples, by caption.
    """
    blocks = [f"# {markdown_text(report.title)}", markdown_text(report.summary)]
    blocks.append("\n".join(f"- {markdown_text(remark)}" for remark in report.remarks))
    for table in report.tables:
        rows = [
            [markdown_text(model), *(_md_cell(cell, table.digits) for cell in cells)]
            for model, cells in table.rows.items()
        ]
        header = ["", *(markdown_text(column.heading) for column in table.columns)]
        blocks += [
            f"## {markdown_text(table.title)}",
            markdown_table(header, rows),
            markdown_text(" ".join(notes(table))),
        ]
    for title, address in pictures.items():
        blocks += [f"## {markdown_text(title)}", f"![{markdown_text(title)}]({address})"]
    blocks += ["## Samples"] * bool(grids)
    for label, addresses in grids.items():
        blocks.append(f"### {markdown_text(label)}")
        blocks += [
            f"![{markdown_text(caption)}]({address})" for caption, address in addresses.items()
        ]
    for title, words in report.facts.items():
        blocks += [f"## {markdown_text(title)}", markdown_words(words)]
    blocks += ["## Command", f"    {report.command}"]
    for label, settings in report.settings.items():
        blocks += [f"## Settings of {markdown_text(label)}", f"```yaml\n{settings.strip()}\n```"]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _md_cell(cell: Cell | None, digits: int) -> str:
    if cell is None:
        return "–"
    text = number(cell, digits)
    text = f"**{text}**" if cell.best else text
    return f"{text} ({printed(cell, digits)})" if cell.published else text


def latex(tables: Iterable[Table]) -> str:
    """The tables in LaTeX, for the package booktabs."""
    return "% \\usepackage{booktabs}\n" + "\n".join(map(_latex_table, tables))


def _latex_table(table: Table) -> str:
    lines = [_latex_row(["", *(_tex(column.label) for column in table.columns)])]
    if any(column.group for column in table.columns):
        above = [
            rf"\multicolumn{{{width}}}{{c}}{{{_tex(name)}}}"
            for name, width in _groups(table.columns)
        ]
        lines.insert(0, _latex_row(["", *above]))
    lines.append(r"\midrule")
    for model, cells in table.rows.items():
        lines.append(_latex_row([_tex(model), *(_latex_cell(x, table.digits) for x in cells)]))
        if any(cell and cell.published for cell in cells):
            paper = [_tex(printed(cell, table.digits)) if cell else "" for cell in cells]
            lines.append(_latex_row([r"\quad published", *paper]))
    body = "\n".join(lines)
    return (
        "\\begin{table}\n\\centering\n\\small\n"
        f"\\caption{{{_tex(table.title)}. {_tex(' '.join(notes(table)))}}}\n"
        f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}\n"
        f"\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_cell(cell: Cell | None, digits: int) -> str:
    if cell is None:
        return "--"
    text = _tex(number(cell, digits))
    return rf"\textbf{{{text}}}" if cell.best else text


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex(text: str) -> str:
    return "".join(LATEX.get(symbol, symbol) for symbol in text)


def values(tables: Iterable[Table]) -> str:
    """The tables' numbers in full, as comma-separated values, a line a cell."""
    header = ["table", "key", "model", "seeds", "mean", "standard_deviation", "paper_mean",
              "paper_standard_deviation", "significantly_best"]  # fmt: skip
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(header)
    for table in tables:
        for model, cells in table.rows.items():
            for column, cell in zip(table.columns, cells, strict=True):
                if cell is not None:
                    ours = [len(cell.values), cell.mean, cell.deviation]
                    theirs = cell.published or (None, None)
                    writer.writerow([table.title, column.key, model, *ours, *theirs, cell.best])
    return content.getvalue()
