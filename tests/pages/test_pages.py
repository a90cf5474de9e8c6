"""The page as a browser reads it: no markup out of data, no script, nothing from elsewhere; files and folders of it."""

from __future__ import annotations

import csv
import io
import json

import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure
from pagereading import EVIL, Read, harmless

from trunkline.errors import BadInput
from trunkline.pages.folder import Page
from trunkline.pages.folder import folder_to_write as checked_folder
from trunkline.pages.page import LONGEST, index_page
from trunkline.pages.rendering import Raw, html, plain
from trunkline.pages.section import Cell, Grid, Listing, Picture, Section, Table

RECORD = "explain.json"


def figure():
    made = Figure(figsize=(1, 1))
    made.subplots().plot([0, 1])
    return made


def page(**more):
    table = Table("texts", ("row", "text", EVIL), [("line 1", EVIL, 0.25), ("line 2", "fine", None)], f"{EVIL} below")
    picture = Picture(figure(), Table("layers", ("layer", "share"), [(0, 0.5), (1, 0.5)]), EVIL)
    cells = [Cell(EVIL, mark=EVIL, below=EVIL), Cell(EVIL, number=True, strong=True)]
    grid = Grid((EVIL, "number"), [cells], Table("grid", ("a",), [(1,)]), EVIL, [EVIL])  # of a caption that is the title
    shown = Section(EVIL, (picture,), (table,), EVIL, [EVIL], [grid], [Listing(EVIL, EVIL)])
    sections = [shown, Section("Confusion matrix", note=EVIL)]
    return Page(EVIL, [("task", EVIL), (EVIL, "x")], [*sections, *more.get("sections", ())])


def test_whatever_data_say_becomes_text():
    files = page().files()
    read = Read(files["index.html"].decode("utf-8"))
    assert harmless(read)
    shown = EVIL.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "\ufffd")
    for element in ("title", "h1", "h2", "dt", "dd", "h3", "th", "td", "p", "li", "strong", "sup", "small", "summary", "pre"):
        assert (f"{shown} below" if element == "h3" else shown) in read.texts[element], element
    assert f"Confusion matrix: {shown}" in read.texts["li"]
    assert {one["aria-label"] for tag, one in read.elements if "aria-label" in one} == {shown, f"{shown} below"}
    assert [one["alt"] for tag, one in read.elements if tag == "img"] == [shown]
    index = Read(index_page(EVIL, [(EVIL, "mood/index.html", EVIL)]))
    assert harmless(index) and shown in index.texts["a"]


def test_files_hold_what_pictures_and_tables_show():
    files = page().files()
    assert set(files) == {"index.html", "layers.png", "layers.csv", "texts.csv", "grid.csv"}
    assert files["layers.png"].startswith(b"\x89PNG")
    assert files["layers.csv"].decode() == "layer,share\n0,0.5\n1,0.5\n"
    rows = list(csv.reader(io.StringIO(files["texts.csv"].decode("utf-8"))))
    assert rows[1] == ["line 1", EVIL.replace("\ud800", "\ufffd"), "0.25"] and rows[2] == ["line 2", "fine", ""]
    assert "<details>" in files["index.html"].decode() and files["index.html"].decode().count("data:image/png") == 1
    with pytest.raises(ValueError, match="two tables"):
        page(sections=[Section("again", tables=(Table("texts", ("a",), [(1,)]),))]).files()


def test_long_tables_and_texts_are_cut_on_the_page_and_whole_in_their_files():
    rows = [(number, "x" * (LONGEST + 5)) for number in range(50)]
    table = Table("many", ("row", "text"), rows, shown=3)
    hidden = Table("hidden", ("n",), [(1,)], shown=0)
    files = Page("a", [], [Section("b", tables=(table, hidden, Table("none", ("n", "m"), [])))]).files()
    read = Read(files["index.html"].decode())
    assert read.texts["td"] == [part for number in range(3) for part in (str(number), "x" * LONGEST + "…")]
    assert any("47 more rows" in text for text in read.texts["p"]) and "hidden" not in files["index.html"].decode()
    assert len(files["many.csv"].splitlines()) == 51 and files["hidden.csv"] == b"n\n1\n" and files["none.csv"] == b"n,m\n"


def test_what_tables_of_a_section_share_is_written_once():
    numbers = Table("numbers", ("a",), [(1,)])
    grids = [Grid(("a",), [[Cell("x")]], numbers, legend=legend) for legend in (["one."], ["one."], ["two."])]
    other = Grid(("a",), [[Cell("x")]], Table("other", ("a",), [(2,)]))
    files = Page("a", [], [Section("b", grids=[*grids, other])]).files()
    read = Read(files["index.html"].decode())
    assert [one for one in read.texts["li"] if one.endswith(".")] == ["one.", "two."]
    assert [one["href"] for tag, one in read.elements if tag == "a" and one["href"].endswith("csv")] == [
        "numbers.csv",
        "other.csv",
    ]
    assert files["numbers.csv"] == b"a\n1\n" and files["other.csv"] == b"a\n2\n"


def test_templates_escape_whatever_they_print_and_refuse_what_they_are_not_given():
    assert html().from_string("{{ x }}|{{ x|upper }}").render(x="<\x00") == "&lt;\ufffd|&lt;\ufffd"
    own = plain("trunkline.pages", lambda text: f"({text})")
    assert own.from_string("x{{ a }}{{ b }}").render(a="1", b=Raw("2")) == "x(1)2"
    for environment in (html(), own):
        with pytest.raises(UndefinedError):
            environment.from_string("{{ x }}").render()


def folder_to_write(path):
    return checked_folder(path, "trunkline explain", RECORD)


def test_a_folder_is_new_or_empty_or_written_by_the_command_before(tmp_path):
    assert folder_to_write(tmp_path / "new") == tmp_path / "new" and folder_to_write(tmp_path) == tmp_path
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="file is no folder that can be written into"):
        folder_to_write(tmp_path / "file" / "below")
    with pytest.raises(BadInput, match="is a file"):
        folder_to_write(tmp_path / "file")
    with pytest.raises(BadInput, match="is not empty; expected a new or empty folder, or one that"):
        folder_to_write(tmp_path)
    written = tmp_path / "written"
    (written / "mood").mkdir(parents=True)
    (written / RECORD).write_text(json.dumps({"files": ["index.html", "mood/layers.csv"]}))
    (written / "mood" / "layers.csv").write_text("x")
    assert folder_to_write(written) == written
    (written / "mood" / "mine.csv").write_text("x")
    with pytest.raises(BadInput, match=r"holds 'mood/mine.csv', which `trunkline explain` has not written"):
        folder_to_write(written)
    (written / RECORD).write_text("{}")
    with pytest.raises(BadInput, match="has not written"):
        folder_to_write(written)
