"""The page shows what the server answers, in a real browser, whatever is typed and whatever labels are called."""

from __future__ import annotations

import random
import re

import pytest
from pagetools import EVERY_TASK, Watched, answer, marked, opened, pretend, said, serving, task
from starlette.testclient import TestClient

from trunkline.serving.http.app import create_app
from trunkline.serving.http.keys import Keys
from trunkline.serving.http.page import page_files
from trunkline.serving.http.settings import Settings

KEY = "a-key-of-the-tests"
TEXT = "😀👩‍👩‍👧 play a 🎷 song in 🗼paris🗼, not very good 😀 today"
HOSTILE = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "\"'><svg/onload=alert(3)>", "{{7*7}}${7*7}"]


@pytest.fixture(scope="module")
def tab(browser):
    return Watched(browser)


@pytest.fixture
def page(tab):
    yield tab.page
    tab.page.unroute_all()
    tab.check()


def test_files_need_no_key_and_allow_nothing_from_elsewhere(engine):
    client = TestClient(create_app(engine, Settings(keys=Keys(more=[KEY]))))
    assert client.get("/v1/tasks").status_code == 401 and client.get("/page/../v1/tasks").status_code == 401
    for path, (content, media_type) in page_files().items():
        got = client.get(path)
        assert got.status_code == 200 and got.content == content and got.headers["content-type"] == media_type
        policy = dict(part.strip().split(" ", 1) for part in got.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in got.headers["content-security-policy"]
        again = client.get(path, headers={"If-None-Match": got.headers["etag"]})
        assert again.status_code == 304 and not again.content
        text = content.decode()
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text), path
        assert not re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|localStorage|sessionStorage", text
        )
    assert {"/", "/page/main.js", "/page/page.css"} <= set(page_files())
    html = page_files()["/"][0].decode()
    assert not re.findall(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", html)


def test_what_is_typed_is_answered_as_the_server_answers_it(page, address):
    opened(page, address)
    with page.expect_response("**/v1/predict") as got:
        page.fill("#text", TEXT)
    found = got.value.json()
    (prediction,) = found["predictions"]
    page.locator("#measured", has_text=f"{found['tokens']} tokens").wait_for()
    shown = page.locator(EVERY_TASK)
    wide_first = sorted(prediction, key=lambda name: "spans" not in prediction[name])
    assert [one.get_attribute("data-task") for one in shown.all()] == wide_first
    for name in ("slots", "chained"):
        spans = prediction[name]["spans"]
        assert marked(page, name) == [(number, span["text"]) for number, span in enumerate(spans)]
        assert any(span["start"] > TEXT.index("🎷") for span in spans)  # behind what is two units of UTF-16
    mood = page.locator("article[data-task=mood]")
    rows = list(zip(mood.locator(".name").all_text_contents(), mood.locator(".score").all_text_contents(), strict=True))
    best = sorted(prediction["mood"]["scores"].items(), key=lambda one: -one[1])
    assert [label for label, _ in rows] == [label for label, _ in best]
    for (_, text), (_, score) in zip(rows, best, strict=True):
        assert "<1" in text or float(re.search(r"[\d.]+", text)[0]) == pytest.approx(100 * score, abs=0.51)
    topics = page.locator("article[data-task=topics] li.chosen .name").all_text_contents()
    assert sorted(topics) == sorted(prediction["topics"]["labels"])
    value = page.locator("article[data-task=stars] .value").text_content()
    assert float(value) == pytest.approx(prediction["stars"]["value"], rel=1e-3)


def test_spans_of_any_kind_cover_their_own_characters(page, address):
    # brute force: each character of the text knows the spans that it is in, and the events are walked through
    page.goto(address)
    draw, cases = random.Random(0), []
    for _ in range(200):
        text = "".join(draw.choice("ab😀𝒫é ") for _ in range(draw.randrange(12)))
        ends = [sorted(draw.randrange(len(text) + 1) for _ in range(2)) for _ in range(draw.randrange(5))]
        cases.append([text, [{"start": start, "end": end} for start, end in ends]])
    walked = page.evaluate(
        "async cases => { const { events } = await import('/page/marks.js'); return cases.map(one => events(...one)); }", cases
    )
    for (text, spans), found in zip(cases, walked, strict=True):
        stack, seen, ended = [], [], []
        for event in found:
            if "text" in event:
                seen += [(character, frozenset(stack)) for character in event["text"]]
            elif "open" in event:
                stack.append(event["open"])
            else:
                assert stack.pop() == event["close"]
                ended += [event["close"]] if event["last"] else []
        covering = [frozenset(n for n, span in enumerate(spans) if span["start"] <= i < span["end"]) for i in range(len(text))]
        assert seen == list(zip(text, covering, strict=True)) and not stack
        assert sorted(ended) == [number for number, span in enumerate(spans) if span["start"] < span["end"]]


def test_texts_labels_and_cards_stay_text(page, address):
    card = (
        "---\nlicense: <b>none</b>\n---\n# words\n\n## Part <i>one</i>\n\n"
        + "\n\n".join(HOSTILE)
        + "\n\n[link](javascript:alert(4)) ![p](http://example.com/p.png)\n\n|<b>a</b>|\n|-|\n|`<i>`|\n"
    )
    tasks = [
        task("words", labels=HOSTILE, card=card),
        task("some", "multilabel", HOSTILE),
        task("marks", "token", HOSTILE),
        task("later", "a kind of a later version", None, layers=None),
    ]
    scores = {label: 0.25 for label in HOSTILE}
    text = "😀".join(HOSTILE)
    spans = [{"start": 0, "end": 9, "label": HOSTILE[0], "score": 0.5, "text": text[:9]}]
    spans += [{"start": 5, "end": 40, "label": HOSTILE[1], "score": 0.5, "text": text[5:40]}]
    prediction = {
        "words": {"label": HOSTILE[0], "score": 0.25, "scores": scores},
        "some": {"labels": HOSTILE[1:3], "scores": scores},
        "marks": {"spans": spans},
        "later": {"what": HOSTILE[0]},
    }
    pretend(page, tasks, lambda request: answer(prediction) if request["text"] == text else (400, {}, {"error": HOSTILE[0]}))
    opened(page, address)
    page.fill("#text", text)
    page.locator("#measured", has_text="7 tokens").wait_for()
    assert marked(page, "marks") == [(0, text[:9]), (1, text[5:40])]
    assert page.locator("article[data-task=words] .name").all_text_contents() == HOSTILE
    assert page.locator("[data-card=words] summary").text_content().endswith(", torch fp32")
    page.locator("[data-card=words] summary").click()
    page.locator("[data-card=words] .card", has_text=HOSTILE[0]).wait_for()
    assert page.locator("[data-card=words] code").all_text_contents() == ["<i>"]
    assert page.locator("[data-card=words]").get_by_role("heading").all_text_contents() == ["Part <i>one</i>"]
    assert page.locator("[data-card=words]").get_by_text("license").count() == 0
    page.fill("#text", HOSTILE[1])
    said(page, re.escape(HOSTILE[0]))
    assert page.locator("img, svg, a:not(.skip), iframe, b, i").count() == 0
    assert page.locator("script").count() == 1


def test_a_key_is_asked_for_and_kept_in_memory_alone(page, engine):
    with serving(create_app(engine, Settings(keys=Keys(more=[KEY])))) as address:
        page.goto(address)
        page.get_by_label("Key", exact=True).wait_for()
        page.keyboard.type("not-the-key")  # the field has the focus
        page.keyboard.press("Enter")
        page.locator("#key-why", has_text="does not take this key").wait_for()
        page.keyboard.type("näh")
        page.keyboard.press("Enter")
        page.locator("#key-why", has_text="ASCII").wait_for()
        page.keyboard.type(KEY)
        page.keyboard.press("Enter")
        page.locator(EVERY_TASK).first.wait_for()
        page.keyboard.type("so good")
        page.locator("#measured", has_text="tokens").wait_for()
        assert not page.locator("#key-form").is_visible()
        kept = page.evaluate("() => [localStorage.length, sessionStorage.length, document.cookie, location.href]")
        assert kept == [0, 0, "", f"{address}/"]
        page.reload()
        page.get_by_label("Key", exact=True).wait_for()


def test_what_is_refused_is_said_in_a_sentence(page, address):
    refusals = {
        "full": (429, {"Retry-After": "3"}, {"error": "the queue is full", "error_type": "overloaded"}),
        "stopping": (503, {}, {"error": "x", "error_type": "unavailable"}),
        "bad": (422, {}, {"error": "text: found one that is too long", "error_type": "bad_input"}),
        "odd": (500, {}, "no object"),
    }
    good = answer({"one": {"label": "a", "score": 0.9, "scores": {"a": 0.9, "b": 0.1}}})
    pretend(page, [task("one")], lambda request: refusals.get(request["text"], good))
    opened(page, address)
    page.fill("#text", "fine")
    page.locator("#measured", has_text="7 tokens").wait_for()
    assert page.locator("#error").text_content() == ""
    for text, sentence in {
        "full": r"too much to do\. Try again in 3 seconds\.",
        "stopping": r"takes no requests now\. Try again in a moment\.",
        "bad": r"^Text: found one that is too long\.$",
        "odd": "status 500",
    }.items():
        page.fill("#text", text)
        page.press("#text", "Control+Enter")
        said(page, sentence)
        assert page.locator("#measured").text_content() == "\u00a0"  # no old answer beside a text that has none
    page.route("**/v1/predict", lambda route: route.abort("connectionrefused"))
    page.fill("#text", "gone")
    page.press("#text", "Control+Enter")
    said(page, "could not be reached")
