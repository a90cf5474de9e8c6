"""The documentation site: every page can be reached, no link is dead, and nothing is fetched from elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import types
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

import trunkline

ROOT = Path(__file__).resolve().parent.parent
FENCES = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without importing what its tags name."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
CONFIG = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)


@pytest.fixture(scope="module")
def hooks() -> types.ModuleType:
    """website/hooks.py, also where MkDocs is not installed: it names one class of it."""
    stand_in = types.ModuleType("mkdocs.structure.files")
    stand_in.File = stand_in.Files = object
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mkdocs.structure.files", stand_in)
        spec = importlib.util.spec_from_file_location("website_hooks", ROOT / "website" / "hooks.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def pages_of(nav) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for one in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(one)]


def sources(hooks) -> dict[str, Path]:
    """Place on the site -> file, of everything that is on it."""
    docs = {path.relative_to(ROOT / "docs").as_posix(): path for path in (ROOT / "docs").rglob("*") if path.is_file()}
    return docs | hooks.places()


def test_the_navigation_has_every_page_once(hooks):
    there = {place for place in sources(hooks) if place.endswith(".md")}
    assert sorted(pages_of(CONFIG["nav"])) == sorted(there)


def test_no_link_is_dead_on_the_site(hooks):
    there, seen = set(sources(hooks)), 0
    for page, path in sources(hooks).items():
        if page.endswith(".md"):
            text = FENCES.sub("", hooks.linked(path.read_text(encoding="utf-8"), page))
            for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", re.sub(r"`[^`\n]*`", "", text)):
                if not re.match(r"[a-z]+:", target):
                    found, seen = os.path.normpath(Path(page).parent / target), seen + 1
                    assert found in there, f"{page}: {target}"
    assert seen > 200


def test_links_out_of_docs_are_led_to_the_copies(hooks):
    text = (
        "[a](../CONTRIBUTING.md#rules) [b](cli.md#fit) [c](https://x.org/a.md)\n```\n[d](../README.md)\n```\n[e](../nothing.md)"
    )
    led = hooks.linked(text, "python.md")
    assert led == text.replace("../CONTRIBUTING", "repository/CONTRIBUTING")
    assert hooks.linked("[a](docs/cli.md) [b](examples)", "repository/README.md") == "[a](../cli.md) [b](../examples.md)"


def test_the_search_finds_the_pages_before_what_has_happened(hooks):
    """Material ranks a page by `search.boost` of its head."""
    boosts = {}
    for place in ("distill.md", "repository/CHANGELOG.md", "repository/benchmarks/LOG.md"):
        page = types.SimpleNamespace(file=types.SimpleNamespace(src_uri=place), meta={})
        hooks.on_page_markdown("", page, None, None)
        boosts[place] = page.meta.get("search", {}).get("boost", 1)
    assert boosts.pop("distill.md") == 1 and all(0 < boost < 1 for boost in boosts.values())
    assert {*boosts} <= {*hooks.places()}


def test_the_tutorials_are_in_order_and_lead_on():
    order = [page for page in pages_of(CONFIG["nav"]) if page.startswith("tutorials/")]
    texts = [(ROOT / "docs" / page).read_text(encoding="utf-8") for page in order]
    assert [text[:4] for text in texts] == [f"# {number}." for number in range(1, len(order) + 1)] and len(order) >= 6
    for text, following in zip(texts[:-1], order[1:], strict=True):
        assert f"({Path(following).name})" in text.split("Next:")[1]


def test_the_api_page_has_every_public_name_and_each_exists():
    named = re.findall(r"^::: ([\w.]+)$", (ROOT / "website" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    found = []
    for name in named:
        module, _, last = name.rpartition(".")
        found.append(importlib.import_module(name) if last == "events" else getattr(importlib.import_module(module), last))
        assert found[-1].__doc__, name
    public = [getattr(trunkline, name) for name in trunkline._PUBLIC]
    assert all(any(one is other for other in found) for one in public)


def test_the_page_of_examples_has_every_example():
    table = re.findall(r"^\| \[[^]]+\]\(\.\./examples/([^)]+)\)", (ROOT / "docs/examples.md").read_text("utf-8"), re.MULTILINE)
    folder = ROOT / "examples"
    files = [path for path in folder.rglob("*") if path.suffix in (".py", ".yaml", ".ipynb")]
    assert sorted(table) == sorted(path.relative_to(folder).as_posix() for path in files)


class _Fetched(HTMLParser):
    """The addresses that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attributes) -> None:
        given = dict(attributes)
        kept = given.get("src"), given.get("href") if tag == "link" and given.get("rel") != "canonical" else None
        self.found += [address for address in kept if address]


@pytest.mark.slow
def test_the_site_is_built_strictly_and_fetches_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert {path.relative_to(tmp_path / "site").with_suffix(".md").as_posix() for path in pages} - {"404.md"} == set(
        pages_of(CONFIG["nav"])
    )
    for path in pages:
        parser = _Fetched()
        parser.feed(path.read_text(encoding="utf-8"))
        assert parser.found and not [one for one in parser.found if re.match(r"(https?:)?//", one)], path
    assert "fit" in (tmp_path / "site" / "search" / "search_index.json").read_text(encoding="utf-8")
    assert (tmp_path / "site" / "schemas" / "study.schema.json").is_file()
