"""Names and labels out of data in every format: they become text in HTML, Markdown, LaTeX and CSV, whatever they hold."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pagereading import Read, harmless
from pylatexenc.latexwalker import (
    LatexCharsNode,
    LatexEnvironmentNode,
    LatexGroupNode,
    LatexMacroNode,
    LatexMathNode,
    LatexWalker,
)
from pylatexenc.latexwalker import get_default_latex_context_db as known_macros
from pylatexenc.macrospec import MacroSpec
from studyfacts import facts

from trunkline.pages.rendering import printable
from trunkline.pages.section import Cell, Grid, Section, Table
from trunkline.studies.report import latex as latex_module
from trunkline.studies.report import markdown as markdown_module
from trunkline.studies.report.html import page
from trunkline.studies.report.latex import latex
from trunkline.studies.report.markdown import markdown
from trunkline.studies.report.results import Results

HOSTILE = (
    "<script>alert(1)</script>", "a | b || c", "**bold** _x_ `code` ~~no~~", "[link](http://evil.example)", "![i](x.png)",
    "- item", "1. item", "10) item", "# heading", "> quotation", "    code", "---", "===", "a\n\n- b",
    "http://a.example www.b.example",
    r"\input{/etc/passwd} \\[1cm] \end{tabular}", "50 % & $x$ # _ ^ ~ { }", "[5pt] *", "--- ,, ``q'' \"q\"", "^^5cinput",
    "é ß Œ",
    "감정 😀 \u202ertl", "\x00\x1b[31m\ud800", "&amp; &#65; &copy;", "=1+1", "@user :tada:", "$$x$$", "",
)  # fmt: skip
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))


def flat(text):
    """A text as one line of a document shows it."""
    return re.sub(r"\s+", " ", printable(text)).strip()


def grid(*names):
    rows = [[Cell(name, mark=name, below=flat(name)), Cell(name, number=True, strong=True)] for name in names]
    return Grid(list(names[:2]), rows, Table("numbers", ("a",), [(1,)]), names[0], list(names))


class Shown(HTMLParser):
    """The texts of table cells, and the names of all elements."""

    def __init__(self, document):
        super().__init__(convert_charrefs=True)
        self.cells, self.elements, self.inside = [], set(), False
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


@settings(max_examples=30, deadline=None)
@example(list(HOSTILE))
@given(st.lists(TEXTS, min_size=2, max_size=5))
def test_markdown_shows_every_name_as_it_is(names):
    section = Section(names[0], sentences=names, grids=[grid(*names)], note=names[1])
    document = markdown(names[0], [(names[0], names[1])], [section])
    rendered = Shown(MarkdownIt("js-default", {"html": True}).render(document))
    assert rendered.elements <= {"h1", "h2", "h3", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "a", "strong"}
    expected = [flat(name) for name in names[:2]]
    for name in map(flat, names):
        expected += [f"{name}{name}" + (f" ({name})" if name else ""), name]
    # An outer space of a cell is nothing in Markdown.
    assert [re.sub(r"\s+", " ", cell).strip() for cell in rendered.cells] == [one.strip() for one in expected]
    links = re.findall(r'href="([^"]*)"', MarkdownIt("js-default", {"html": True, "linkify": False}).render(document))
    assert set(links) == {"numbers.csv", "index.html"}


INVERSE = {
    "textbackslash": "\\", "{": "{", "}": "}", "$": "$", "&": "&", "#": "#", "textasciicircum": "^", "_": "_", "%": "%",
    "textasciitilde": "~", "textless": "<", "textgreater": ">", "textbar": "|", "textquotedbl": '"', "textquotesingle": "'",
    "textasciigrave": "`", "ldots": "…", "pm": "±", "dagger": "†", "times": "\u00d7",
}  # fmt: skip


def read_tex(nodes):
    """The text that TeX shows; raises where there is any command but those for single characters."""
    found = ""
    for node in nodes:
        if isinstance(node, LatexCharsNode):
            assert not set(node.chars) & set("\\{}$&#^_%~")
            found += node.chars.replace("---", "—") if node.chars == "---" else node.chars
        elif isinstance(node, LatexGroupNode):
            found += read_tex(node.nodelist)
        elif isinstance(node, LatexMathNode):
            found += read_tex(node.nodelist).replace("-", "\u2212")
        elif isinstance(node, LatexMacroNode) and node.macroname == "unicodechar":
            code, character = (read_tex([argument]) for argument in node.nodeargd.argnlist)
            assert chr(int(code, 16)) == character
            found += character
        else:
            assert isinstance(node, LatexMacroNode), node
            found += INVERSE[node.macroname] + node.macro_post_space
    return found


CONTEXT = known_macros()
CONTEXT.add_context_category("own", prepend=True, macros=[MacroSpec("unicodechar", "{{"), MacroSpec("numberwith", "{{")])


@settings(max_examples=50, deadline=None)
@example(" ".join(HOSTILE))
@given(TEXTS)
def test_tex_reads_every_name_back(name):
    written = latex_module.escaped(name)
    nodes, *_ = LatexWalker(written, latex_context=CONTEXT, tolerant_parsing=False).get_latex_nodes()
    expected = re.sub(r"\s+", " ", printable(name))
    assert read_tex(nodes) == expected.replace("\u2013", "--")
    assert not re.search(r"(?<!\{)\[", written)  # which \midrule before a row would take for an argument of its own
    assert not re.search(r"(?<!\{)---?(?!\})|,,", written.replace("{}", "!")) or "—" in name or "\u2013" in name


def test_characters_that_fonts_of_pdflatex_lack_are_code_points():
    assert latex_module.escaped("é 감\u2014\u0301") == r"é \unicodechar{AC10}{감}---\unicodechar{0301}{" + "\u0301}"


def tables_of(text):
    """The environments of tables of a file, which has to be TeX that can be parsed."""
    body = "\n".join(line for line in text.splitlines() if not line.startswith(r"\providecommand"))
    nodes, *_ = LatexWalker(body, latex_context=CONTEXT, tolerant_parsing=False).get_latex_nodes()
    found, queue = [], list(nodes)
    while queue:
        node = queue.pop(0)
        if isinstance(node, LatexEnvironmentNode) and node.environmentname in ("tabular", "longtable"):
            found.append(node)
        elif isinstance(node, LatexEnvironmentNode | LatexGroupNode):
            queue = [*node.nodelist, *queue]
        elif isinstance(node, LatexMacroNode) and node.nodeargd and node.nodeargd.argnlist:
            queue = [*(one for one in node.nodeargd.argnlist if one is not None), *queue]
    return found


@pytest.mark.parametrize("count", [3, 40])
def test_every_row_of_a_tex_table_has_its_cells(count):
    names = (HOSTILE * 2)[:count]
    files = latex({"quality_1": grid(*names)})
    assert set(files) == {"quality_1.tex", "all.tex"} and rb"\input{quality_1}" in files["all.tex"]
    (table,) = tables_of(files["quality_1.tex"].decode("utf-8"))
    assert table.environmentname == ("longtable" if count == 40 else "tabular")
    specials = [node.specials_chars for node in table.nodelist if type(node).__name__ == "LatexSpecialsNode"]
    heads = 2 if count == 40 else 1
    assert specials.count("&") == heads + len(names)
    rules = [node.macroname for node in table.nodelist if isinstance(node, LatexMacroNode)]
    assert rules.count("\\") == heads + len(names) + (count == 40) and {"toprule", "midrule", "bottomrule"} <= set(rules)
    assert rules.count("textbf") == sum(name != "" for name in names)


def test_the_best_is_bold_and_a_mark_is_in_the_legend():
    cells = [Cell("a"), Cell("0.9000 ± 0.0010", number=True, strong=True, mark="†", below="0.8 to 1\nbelow the floor")]
    made = Grid(["method", "trained parameters"], [cells], Table("x", ("a",), []), "Quality", ["† worse."])
    text = latex({"quality": made})["quality.tex"].decode()
    score, below = r"\textbf{0.9000 $\pm$ 0.0010}\textsuperscript{$\dagger$}", r"0.8 to 1\\[-2pt]\scriptsize below the floor"
    assert rf"a & \numberwith{{{score}}}{{{below}}} \\[2pt]" in text
    assert r"method & \shortstack[r]{trained\\parameters} \\" in text and "\n$\\dagger$ worse. \n" in text
    assert r"\begin{tabular}{lr}" in text and r"\label{tab:quality}" in text


@pytest.fixture(scope="module")
def hostile():
    """A page whose every name is hostile, and its files."""
    given = facts(labels=tuple(name for name in HOSTILE if name and name != "\x00\x1b[31m\ud800")[:5], sizes=("all",), seeds=1)
    text = json.dumps(given)
    method = r"<b>&\\input{x}|"
    names = {"adalayers": method, "home-intents": "<script>alert(1)</script>", "out of memory": "<i>", "minilm": "a|b<c>"}
    for old, new in names.items():
        text = text.replace(old, new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trunkline.pages.folder._png", lambda picture: b"")  # which takes most of the time
        made = page(Results.model_validate(json.loads(text)), Path("/nowhere"))
        yield made, made.files()


@pytest.mark.filterwarnings("ignore:Glyph")
def test_the_page_holds_no_markup_out_of_names_and_asks_nobody(hostile):
    _, files = hostile
    read = Read(files["index.html"].decode("utf-8"))
    assert harmless(read)
    assert "<script>alert(1)</script>: which method, at what price" in read.texts["h1"]
    assert any(r"<b>&\input{x}|" in text for text in read.texts["td"])
    linked = {one["href"] for tag, one in read.elements if tag == "a" and not one["href"].startswith("#")}
    assert linked <= set(files) and {name for name in files if name.endswith(".png")} <= linked


def test_every_table_is_a_csv_file_that_reads_back(hostile):
    made, files = hostile
    for section in made.sections:
        for table in section.files:
            rows = list(csv.reader(io.StringIO(files[f"{table.name}.csv"].decode("utf-8"), newline="")))
            assert rows[0] == list(table.columns) and len(rows) == len(table.rows) + 1
            for row, written in zip(table.rows, rows[1:], strict=True):
                for value, cell in zip(row, written, strict=True):
                    if isinstance(value, float):
                        assert float(cell) == value
                    else:
                        assert cell == ("" if value is None else str(value))


def test_markdown_and_tex_hold_the_same_names(hostile):
    made, _ = hostile
    rendered = MarkdownIt("js-default", {"html": True}).render(markdown(made.heading, made.facts, made.sections))
    assert "<script" not in rendered and "&lt;b&gt;&amp;\\input{x}|" in rendered
    quality = next(section for section in made.sections if section.title == "Quality")
    (text,) = (latex({"quality": grid})["quality.tex"].decode() for grid in quality.grids)
    assert r"\textless{}b\textgreater{}\&\textbackslash{}input\{x\}\textbar{}" in text and tables_of(text)
    assert markdown_module.escaped("a|b") == r"a\|b"


@pytest.mark.slow
def test_pdflatex_compiles_whatever_names_there_are(tmp_path):
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("the tables are compiled with pdflatex, which is not installed here (Debian: texlive-latex-recommended)")
    for name, content in latex({"short": grid(*HOSTILE[:20]), "long": grid(*HOSTILE, *HOSTILE)}).items():
        (tmp_path / name).write_bytes(content)
    command = [program, "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(
    "more", [{"sizes": ("all",)}, {}, {"trunks": ("minilm", "mpnet")}], ids=["one table", "sizes", "trunks"]
)
def test_no_heading_is_there_twice(more, tmp_path):
    made = page(Results.model_validate(facts(labels=("joy", "anger", "fear"), **more)), tmp_path)
    lines = markdown(made.heading, made.facts, made.sections).splitlines()
    in_markdown = [line.lstrip("# ") for line in lines if re.match("#+ ", line)]
    in_html = [text for _, text in re.findall(r"<(h[1-6])>(.*?)</\1>", made.files()["index.html"].decode())]
    for headings in (in_markdown, in_html):
        assert {"Quality", "Cost", "Data"} <= set(headings)
        assert sorted(headings) == sorted(set(headings))
