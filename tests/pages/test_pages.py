"""The page as a browser reads it: no markup out of data, no script, nothing from elsewhere; files and folders of it."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from trunkline.errors import BadInput
from trunkline.pages.folder import Page
from trunkline.pages.folder import folder_to_write as checked_folder
from trunkline.pages.page import LONGEST, index_page
from trunkline.pages.section import Picture, Section, Table

EVIL = "<script>alert(1)</script> \"'><img src=x onerror=alert(1)> &amp; \x00\x1b[31m \ud800 </td></table>"
RECORD = "explain.json"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Read(HTMLParser):
    """Elements with their attributes, texts by element, and whether all are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data)


def harmless(read: Read) -> bool:
    names = {tag for tag, _ in read.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "svg"}
    for tag, attributes in read.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        source = attributes.get("src")
        assert source is None or source.startswith("data:image/png;base64,")
        link = attributes.get("href")
        assert link is None or re.fullmatch(r"#[\w-]+|[\w/]+\.(html|csv|png)", link)
    policy = next(one["content"] for tag, one in read.elements if one.get("http-equiv") == "Content-Security-Policy")
    return policy.startswith("default-src 'none'")


def figure():
    made = Figure(figsize=(1, 1))
    made.subplots().plot([0, 1])
    return made


def page(**more):
    table = Table("texts", ("row", "text", EVIL), [("line 1", EVIL, 0.25), ("line 2", "fine", None)], EVIL)
    picture = Picture(figure(), Table("layers", ("layer", "share"), [(0, 0.5), (1, 0.5)]), EVIL)
    sections = [Section(EVIL, (picture,), (table,), EVIL), Section("Confusion matrix", note=EVIL)]
    return Page(EVIL, [("task", EVIL), (EVIL, "x")], [*sections, *more.get("sections", ())])


def test_whatever_data_say_becomes_text():
    files = page().files()
    read = Read(files["index.html"].decode("utf-8"))
    assert harmless(read)
    shown = EVIL.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "\ufffd")
    for element in ("title", "h1", "h2", "dt", "dd", "h3", "th", "td", "p"):
        assert shown in read.texts[element], element
    assert f"Confusion matrix: {shown}" in read.texts["li"]
    assert [one["alt"] for tag, one in read.elements if tag == "img"] == [shown]
    index = Read(index_page(EVIL, [(EVIL, "mood/index.html", EVIL)]))
    assert harmless(index) and shown in index.texts["a"]


def test_files_hold_what_pictures_and_tables_show():
    files = page().files()
    assert set(files) == {"index.html", "layers.png", "layers.csv", "texts.csv"}
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
