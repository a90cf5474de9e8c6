"""The page is used as people use it: by keyboard, while tasks change, and while answers are late."""

from __future__ import annotations

import dataclasses

import pytest
from pagetools import EVERY_TASK, answer, labelled, marked, opened, pretend, said, serving, task

pytestmark = pytest.mark.slow


def focused(page):
    return page.evaluate("""() => {
        const one = document.activeElement;
        return one.id || one.closest("[data-card]")?.dataset.card || one.textContent.trim() || one.name;
    }""")


def test_everything_is_reached_and_done_by_keyboard(page, address):
    pretend(
        page,
        [task("one"), task("two", pairs=True)],
        lambda request: answer(
            {name: labelled(f"{request['text']}/{request.get('pair')}") for name in request.get("tasks", ["one", "two"])},
            long_texts=[0],
        ),
    )
    opened(page, address)
    seen = []
    while len(seen) < 30:
        page.keyboard.press("Tab")
        seen.append(focused(page))
        if seen[-1] == "two":
            break
        shown = page.evaluate(
            "() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.outlineWidth }"
        )
        assert shown == "solid3px", seen[-1]
    assert seen[:4] == ["Skip to the answers", "text", "pair", "send"]
    assert seen[4:6] == ["Music", "A table"] and seen[-3:-1] == ["Options", "one"] and seen.count("text") == 1

    page.keyboard.press("Enter")  # the card of "two" opens
    page.locator("[data-card=two][open]").wait_for()
    page.focus("#text")
    page.keyboard.type("x")
    page.keyboard.press("Tab")
    page.keyboard.type("y")
    page.locator("article[data-task=two] .state", has_text="x/y").wait_for()
    with page.expect_request("**/v1/predict"):  # though nothing has changed
        page.keyboard.press("Control+Enter")
    page.locator("#answers[aria-busy=false]").wait_for()
    assert "two: x/y, 90" in page.locator("[aria-live=polite]").text_content()
    page.focus("#options summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "all"
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Space")  # not "one"
    page.locator("article[data-task=one]").wait_for(state="detached")
    for _ in range(2):
        page.keyboard.press("Tab")
    assert focused(page) == "confidence"
    with page.expect_request("**/v1/predict") as sent:
        page.keyboard.press("PageUp")
    assert sent.value.post_data_json["min_confidence"] == pytest.approx(0.1)
    assert sent.value.post_data_json["tasks"] == ["two"]
    page.keyboard.press("Tab")
    with page.expect_request("**/v1/predict") as sent:
        page.keyboard.press("ArrowDown")
    assert sent.value.post_data_json["long_texts"] == "windows"


def test_everything_to_operate_has_a_name(page, address):
    opened(page, address)
    page.locator("#options summary").click()
    page.evaluate("() => { for (const one of document.querySelectorAll('[hidden]')) one.hidden = false }")
    for role in ("textbox", "button", "checkbox", "radio", "slider"):
        for one in page.get_by_role(role).all():
            assert one.evaluate("one => (one.labels?.[0] ?? one).textContent.trim() || one.ariaLabel"), role
    assert page.get_by_role("img", name="Shares of the layers").count() == page.locator(EVERY_TASK).count()
    assert page.get_by_role("main").count() == page.get_by_role("heading", level=1).count() == 1


@pytest.mark.parametrize("in_time", [True, False], ids=["taken back", "on its way already"])
def test_a_late_answer_never_replaces_a_newer_one(page, address, in_time):
    held, taken_back = [], []
    if not in_time:
        page.add_init_script("AbortController.prototype.abort = () => {}")
    pretend(page, [task("one")], lambda request: answer({"one": labelled(request["text"])}))
    opened(page, address)
    page.on("requestfailed", lambda request: taken_back.append(request.post_data_json["text"]))
    page.route("**/v1/predict", lambda route: held.append(route), times=1)
    with page.expect_request("**/v1/predict"):
        page.fill("#text", "old")
    page.locator("#answers[aria-busy=true]").wait_for()
    page.fill("#text", "new")
    state = page.locator("article .state")
    state.filter(has_text="new").wait_for()
    assert taken_back == (["old"] if in_time else [])  # so that the server need not compute it
    if not in_time:
        with page.expect_response("**/v1/predict"):
            held[0].fulfill(json=answer({"one": labelled("old")}))
        page.wait_for_timeout(200)
    assert state.text_content().startswith("new")
    page.fill("#text", "")
    page.locator("article .name", has_text="new").wait_for(state="detached")


def test_texts_that_are_too_long_are_cut_or_read_in_windows(page, address):
    opened(page, address)
    text = "play a song " * 60
    page.fill("#text", text)
    page.locator(".notice", has_text="(64 tokens). It was cut there.").wait_for()
    with page.expect_response("**/v1/predict") as got:
        page.get_by_role("button", name="Read all of it").click()
    page.locator(".notice", has_text="It was read in overlapping windows.").wait_for()
    assert got.value.request.post_data_json["long_texts"] == "windows" and got.value.json()["tokens"] > 180
    assert page.locator("#text").evaluate("one => one === document.activeElement")
    spans = got.value.json()["predictions"][0]["slots"]["spans"]
    assert marked(page, "slots") == [(number, span["text"]) for number, span in enumerate(spans)]
    page.fill("#text", "short")
    page.locator(".notice").wait_for(state="detached")


def test_what_is_not_sure_is_no_answer(page, address):
    opened(page, address)
    page.fill("#text", "play a song")
    page.locator("#measured", has_text="tokens").wait_for()
    page.locator("#options summary").click()
    page.fill("#confidence", "100")
    with page.expect_response("**/v1/predict") as got:
        page.locator("article.none").first.wait_for()
    (prediction,) = got.value.json()["predictions"]
    withheld = {name for name, one in prediction.items() if one.get("abstained")}
    assert withheld and withheld == {one.get_attribute("data-task") for one in page.locator("article.none").all()}
    for name in withheld:
        assert "No answer: confidence" in page.locator(f"article[data-task={name}] .state").text_content()
        assert page.locator(f"article[data-task={name}] li.chosen").count() == 0
    left_out = prediction["slots"]["left_out"]
    assert (f"{left_out} left out" in page.locator("article[data-task=slots] .state").text_content()) == bool(left_out)


def test_tasks_come_and_go_while_the_page_is_open(page, address, engine):
    opened(page, address)
    page.fill("#text", "so good")
    page.locator("#measured", has_text="tokens").wait_for()
    mood = engine.branches["mood"]
    engine.add("pair", dataclasses.replace(mood, text_pair="other"))
    try:
        page.fill("#text", "so bad")  # answered without the task, as there is no second text
        page.locator("#measured", has_text="tokens").wait_for()
        assert not page.locator("article[data-task=pair]").count()
        page.evaluate("dispatchEvent(new Event('focus'))")
        page.locator("article[data-task=pair]").wait_for()
        page.locator("article[data-task=pair] .state", has_text="there is no text").wait_for()
        page.get_by_label("Second text").fill("not so")
        page.locator("article[data-task=pair] li.chosen").wait_for()
    finally:
        engine.remove("pair")
    page.fill("#text", "so sad")
    page.locator("article[data-task=pair]").wait_for(state="detached")
    page.locator("#measured", has_text="tokens").wait_for()
    assert not page.get_by_label("Second text").is_visible()
    assert page.locator("#error").text_content() == ""


def test_it_works_under_a_prefix(page, engine):
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from trunkline.serving.http.app import create_app

    with serving(Starlette(routes=[Mount("/some/prefix", app=create_app(engine))])) as address:
        opened(page, f"{address}/some/prefix/")
        page.fill("#text", "so good")
        page.locator("#measured", has_text="tokens").wait_for()


def test_nothing_is_asked_without_a_task_or_a_text(page, address):
    sent = []
    page.on("request", lambda request: sent.append(request.url) if "predict" in request.url else None)
    opened(page, address)
    page.fill("#text", "  ")
    page.locator("#options summary").click()
    page.get_by_role("button", name="None").click()
    page.fill("#text", "text")
    said(page, "Choose at least one task")
    assert not sent
    page.get_by_role("button", name="All").click()
    page.locator("#measured", has_text="tokens").wait_for()
    assert len(sent) == 1 and page.locator("#error").text_content() == ""
