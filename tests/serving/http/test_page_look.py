"""The page can be read: on a phone, in the dark, with long names, in every direction of writing, and nothing moves about."""

from __future__ import annotations

import pytest
from browser import CONTRASTS, contrast
from pagetools import answer, labelled, marked, opened, pretend, task, watched

pytestmark = pytest.mark.slow
DARK = {"light": False, "dark": True}


def test_a_phone_scrolls_in_one_direction(browser, address):
    long = ["a label of many words that go on and on " * 4, "Donaudampfschifffahrtselektrizitaetenhauptbetriebswerk" * 3]
    tasks = [task("t" * 80, labels=long, card="# t\n\n|" + "wide|" * 40 + "\n"), task("marks", "token", long)]
    text = "word" * 80
    spans = [{"start": 0, "end": 300, "label": long[1], "score": 0.5, "text": text[:300]}]
    prediction = {"t" * 80: {"label": long[0], "score": 0.6, "scores": {long[0]: 0.6, long[1]: 0.4}}, "marks": {"spans": spans}}
    with watched(browser, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True) as page:
        pretend(page, tasks, lambda request: answer(prediction, long_texts=[0]))
        opened(page, address)
        page.locator("#options summary").click()
        page.locator("#cards summary").first.click()
        page.fill("#text", text)
        page.locator(".notice").wait_for()
        width = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth, visualViewport.width]")
        assert width == [360, 360, 360]


@pytest.mark.parametrize("scheme", DARK)
def test_all_that_is_written_has_enough_contrast(browser, address, scheme):
    labels = [f"label {number}" for number in range(40)]
    text = " ".join(map(str, range(40)))
    spans = [{"start": 2 * n, "end": 2 * n + 3, "label": labels[n], "score": 0.5, "text": ""} for n in range(40)]
    prediction = {
        "one": labelled("label 1"),
        "none": {"label": None, "score": 0.4, "scores": {"label 1": 0.4, "label 2": 0.3}, "abstained": True},
        "marks": {"spans": spans},
        "stars": {"value": 3.25},
    }
    card = "# h\n\ntext `code` **bold**\n\n```\ncode\n```\n\n- item\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    tasks = [
        task("one", labels=labels, card=card),
        task("none", labels=labels),
        task("marks", "token", labels),
        task("stars", "regression", None),
    ]
    with watched(browser, color_scheme=scheme) as page:
        pretend(page, tasks, lambda request: answer(prediction, long_texts=[0]) if request["text"] == text else (500, {}, {}))
        opened(page, address)
        page.locator("#options summary").click()
        page.locator("#cards summary").first.click()
        page.fill("#text", text)
        page.locator(".notice").wait_for()
        page.locator("article[data-task=one] summary").click()
        page.evaluate("() => { for (const one of document.querySelectorAll('[hidden]')) one.hidden = false }")
        page.evaluate("() => { document.querySelector('#error').textContent = 'a sentence' }")
        assert page.evaluate("() => new Set([...document.querySelectorAll('mark')].map(one => one.className)).size") == 12
        page.wait_for_timeout(300)  # bars have come to rest
        found = page.evaluate(CONTRASTS)
        assert len(found) > 150
        low = {(text, of): contrast(*colors) for text, of, *colors in found if contrast(*colors) < (4.5 if text else 3)}
        assert not low
        ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(", "))) < 200) == DARK[scheme]


def test_nothing_moves_when_answers_come(page, address):
    page.add_init_script("""new PerformanceObserver(list => {
        for (const one of list.getEntries()) (window.moved ??= []).push(one.value);
    }).observe({ type: "layout-shift", buffered: true });""")
    opened(page, address)
    where = "() => [...document.querySelectorAll('article')].map(one => Math.round(one.getBoundingClientRect().top))"
    page.evaluate("() => { window.moved = [] }")
    before = page.evaluate(where)
    for text in ("play a song", "so good", "😀"):
        page.fill("#text", text)
        page.locator("#measured", has_text="tokens").wait_for()
        page.wait_for_timeout(700)
        assert page.evaluate(where) == before
    assert page.evaluate("() => window.moved") == []


def test_motion_is_left_out_where_it_is_not_wanted(browser, address):
    for wanted, seconds in (("no-preference", "0.15s"), ("reduce", "0s")):
        with watched(browser, reduced_motion=wanted) as page:
            opened(page, address)
            assert page.locator(".bar").first.evaluate("bar => getComputedStyle(bar).transitionDuration") == seconds


def test_right_to_left_and_many_labels(page, address):
    labels = [f"label {number}" for number in range(1500)]
    scores = {label: (number + 1) / 1500**2 for number, label in enumerate(labels)}
    text = "في بوسطن 😀 غدا"
    spans = [{"start": 3, "end": 8, "label": "city", "score": 0.5, "text": text[3:8]}]
    tasks = [task("many", "multilabel", labels), task("marks", "token", ["city"])]
    prediction = {"many": {"labels": labels[:12], "scores": scores}, "marks": {"spans": spans}}
    pretend(page, tasks, lambda request: answer(prediction))
    opened(page, address)
    page.fill("#text", text)
    page.locator("#measured", has_text="tokens").wait_for()
    assert marked(page, "marks") == [(0, text[3:8])]
    for place in ("#text", ".marked"):
        assert page.locator(place).evaluate("one => getComputedStyle(one).direction") == "rtl"
    many = page.locator("article[data-task=many]")
    assert many.locator("li").count() == 5
    many.locator("summary", has_text="All 1500 labels, 7 more of them chosen").click()
    many.locator("details li").nth(1499).wait_for()
    ranked = many.locator("details .name").all_text_contents()
    assert ranked == [*labels[11::-1], *labels[:11:-1]]
