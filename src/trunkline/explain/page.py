"""The page as HTML: one file that holds its pictures and its style, runs no script and asks nothing of any other host.

Whatever comes from data, texts and labels among it, becomes text: every value is escaped, and the page's own policy forbids
scripts besides.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import trunkline
from trunkline.explain.section import Picture, Section, Table

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
LONG = 40  # characters from which on a cell may be broken into lines
LONGEST = 600  # characters of a cell that the page shows; its file has all
WIDE = 720  # pixels: a wider picture is scrolled sideways where there is no room, as its letters would be too small
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

Images = Mapping[str, tuple[bytes, float]]  # by name, a PNG and its width in inches


def branch_page(heading: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section], images: Images) -> str:
    """The page of one branch.

    Args:
        heading: in large letters.
        facts: names and values.
        sections: in order; those without pictures and tables are listed at the end, each with its note.
        images: of their pictures, by the names of their numbers.
    """
    shown = [(f"s{number}", section) for number, section in enumerate(sections, 1) if not section.left_out]
    left = [section for section in sections if section.left_out]
    parts = [f"<h1>{said(heading)}</h1>", _facts(facts), _contents(shown, bool(left))]
    for place, section in shown:
        parts += [f'<section id="{place}">', f"<h2>{said(section.title)}</h2>"]
        parts += [f"<p>{said(section.note)}</p>"] if section.note else []
        if section.pictures:
            parts += [
                '<div class="pictures">',
                *(_picture(one, *images[one.numbers.name]) for one in section.pictures),
                "</div>",
            ]
        parts += [part for table in section.tables for part in _table(table)]
        parts.append("</section>")
    if left:
        parts += ['<section id="left-out">', "<h2>Left out</h2>", '<ul class="left">']
        parts += [f"<li>{said(section.title)}: {said(section.note)}</li>" for section in left]
        parts += ["</ul>", "</section>"]
    return _document(heading, parts)


def index_page(heading: str, rows: Sequence[tuple[str, str, str]]) -> str:
    """A page that leads to those of several branches.

    Args:
        heading: in large letters.
        rows: for each its name, the address of its page, and what is to be said of it.
    """
    parts = [f"<h1>{said(heading)}</h1>", "<ul>"]
    parts += [f'<li><a href="{said(address)}">{said(name)}</a>: {said(what)}</li>' for name, address, what in rows]
    return _document(heading, [*parts, "</ul>"])


def said(value: Any) -> str:
    """A value as text of the page: control characters and halves of surrogate pairs, which HTML cannot hold, as U+FFFD."""
    return escape(_CONTROLS.sub("\ufffd", str(value)), quote=True)


def _document(title: str, parts: Sequence[str]) -> str:
    style = files(__package__ or "").joinpath("page.css").read_text(encoding="utf-8")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{said(title)}</title>",
            f"<style>\n{style}</style>",
            "</head>",
            "<body>",
            *parts,
            f"<footer>Written by trunkline {said(trunkline.__version__)}.</footer>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return "\n".join(["<dl>", *(f"<dt>{said(name)}</dt><dd>{said(value)}</dd>" for name, value in facts), "</dl>"])


def _contents(shown: Sequence[tuple[str, Section]], left: bool) -> str:
    links = [f'<li><a href="#{place}">{said(section.title)}</a></li>' for place, section in shown]
    links += ['<li><a href="#left-out">Left out</a></li>'] if left else []
    return "\n".join(["<nav><ul>", *links, "</ul></nav>"])


def _picture(picture: Picture, image: bytes, inches: float) -> str:
    name, width = said(picture.numbers.name), round(96 * inches)
    data = base64.b64encode(image).decode("ascii")
    wide = ' class="wide"' if width > WIDE else ""
    caption = said(picture.numbers.caption)
    parts = [
        "<figure>",
        f'<div class="image"><img{wide} width="{width}" alt="{said(picture.alt)}" src="data:image/png;base64,{data}"></div>',
        f'<figcaption>{caption} Files: <a href="{name}.png">{name}.png</a>, <a href="{name}.csv">{name}.csv</a></figcaption>',
    ]
    if picture.numbers.shown and picture.numbers.rows:
        parts += ["<details>", "<summary>Numbers</summary>", *_rows(picture.numbers), "</details>"]
    return "\n".join([*parts, "</figure>"])


def _table(table: Table) -> Iterator[str]:
    if not table.shown:
        return
    yield from [f"<h3>{said(table.caption)}</h3>"] if table.caption else []
    yield from _rows(table)
    name = said(table.name)
    more = len(table.rows) - table.shown
    said_more = f"{more:,} more row{'' if more == 1 else 's'} in the file. " if more > 0 else ""
    yield f'<p class="file">{said_more}File: <a href="{name}.csv">{name}.csv</a></p>'


def _rows(table: Table) -> Iterator[str]:
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    numeric = [all(value is None or isinstance(value, int | float) for value in values) for values in columns]
    kinds = [' class="number"' if one else "" for one in numeric]
    shown = table.rows[: table.shown]
    texts = any(isinstance(value, str) and len(value) > LONG for row in shown for value in row)
    yield '<div class="table"><table class="texts">' if texts else '<div class="table"><table>'
    heads = "".join(f'<th scope="col"{kind}>{said(name)}</th>' for name, kind in zip(table.columns, kinds, strict=True))
    yield f"<thead><tr>{heads}</tr></thead>"
    yield "<tbody>"
    for row in shown:
        cells = zip(row, kinds, table.columns, strict=True)
        yield "<tr>" + "".join(_cell(value, kind, name if texts else "") for value, kind, name in cells) + "</tr>"
    yield "</tbody></table></div>"


def _cell(value: Any, kind: str, column: str) -> str:
    """A cell; of a table of texts with the name of its column, which a narrow page writes into it."""
    named = f' data-column="{said(column)}"' if column else ""
    if kind:
        return f"<td{kind}{named}>{_number(value)}</td>"
    text = "" if value is None else str(value)
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    long = ' class="long"' if len(text) > LONG else ""
    return f'<td dir="auto"{long}{named}>{said(text)}</td>'


def _number(value: float | None) -> str:
    if value is None:
        return "\u2013"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.4g}"
