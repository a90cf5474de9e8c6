"""The report in a real browser: on a desktop and on a phone, light and dark, with 50 labels; it asks nobody for anything."""

from __future__ import annotations

import json

import pytest
from browser import CONTRASTS, PATIENCE, chromium, contrast
from studyfacts import INTENTS, facts
from studyfolder import study_folder

from trunkline.studies.report import report

pytestmark = pytest.mark.slow
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
# What is written in a box has to fit into it, and no box of a section lies over another.
SPILLED = """() => [...document.querySelectorAll("td, th, h1, h2, h3, dd, li, p, figcaption, summary")].filter(
    one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display != "inline"
).map(one => one.textContent.trim())"""
OVERLAPPING = """() => {
    const found = [];
    for (const parent of document.querySelectorAll("body, section, .pictures, figure, tbody, tr")) {
        const boxes = [...parent.children].filter(one => one.checkVisibility()).map(one => one.getBoundingClientRect());
        for (const [i, one] of boxes.entries()) for (const other of boxes.slice(i + 1)) {
            const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left);
            const high = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
            if (wide > 1 && high > 1) found.push([parent.tagName, i, wide, high]);
        }
    }
    return found;
}"""
PICTURES = "() => [...document.images].map(one => [one.alt, one.naturalWidth, one.clientWidth, one.parentElement.clientWidth])"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report of 50 labels and two sizes, and one with texts of its errors and configs of its runs."""
    folder = tmp_path_factory.mktemp("studies")
    (folder / "large").mkdir()
    (folder / "large/results.json").write_text(json.dumps(facts(trunks=("minilm", "mpnet"))), encoding="utf-8")
    study_folder(folder / "texts")
    return [report(folder / name).page for name in ("large", "texts")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_all_of_the_page_can_be_read(pages, size, scheme):
    assert len(INTENTS) == 50
    mobile = {"is_mobile": True, "has_touch": True} if size == "phone" else {}
    with chromium() as browser:
        for path in pages:
            context = browser.new_context(viewport=SIZES[size], color_scheme=scheme, **mobile)
            context.set_default_timeout(PATIENCE)
            page, asked, wrong = context.new_page(), [], []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("console", lambda said, wrong=wrong: wrong.append(said.text))
            page.goto(path.as_uri())
            for summary in page.locator("summary").all():
                summary.click()
            assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()] and not wrong
            width = SIZES[size]["width"]
            assert page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]") == [width, width]
            assert page.evaluate(SPILLED) == [] and page.evaluate(OVERLAPPING) == []
            pictures = page.evaluate(PICTURES)
            assert pictures and all(alt and own > 0 for alt, own, *_ in pictures)
            assert all(shown <= own for _, own, shown, _ in pictures)
            low = {text for text, _, *colors in page.evaluate(CONTRASTS) if contrast(*colors) < 4.5}
            assert not low
            ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, ground[4:-1].split(", "))) < 200) == (scheme == "dark")
            context.close()
