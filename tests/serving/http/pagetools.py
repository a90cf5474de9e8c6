"""The page in a real browser, over servers in threads."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from contextlib import contextmanager

import uvicorn
from browser import PATIENCE

EVERY_TASK = "article.answer"


@contextmanager
def serving(app):
    """The address of a server for `app`, on loopback, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


class Watched:
    """A page of a browser. It may ask no other host than its own for anything, and no script may fail or be refused."""

    def __init__(self, browser, **settings):
        self.context = browser.new_context(**settings)
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.asked, self.wrong = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append(dialog.message), dialog.dismiss()))
        self.page.on("console", self._told)

    def _told(self, said):
        if "Failed to load resource" not in said.text:  # which a refusal is for the browser
            self.wrong.append(said.text)

    def check(self):
        assert not self.wrong
        assert self.asked and all(url.startswith(("http://127.0.0.1:", "data:image/svg+xml")) for url in self.asked), self.asked
        self.asked.clear()


@contextmanager
def watched(browser, **settings):
    """A `Watched` page of its own, checked at the end."""
    made = Watched(browser, **settings)
    yield made.page
    made.context.close()
    made.check()


def opened(page, address):
    """Open the page and wait for its tasks."""
    page.goto(address)
    page.locator(EVERY_TASK).first.wait_for()


def said(page, pattern):
    """Wait until the page says this in its place for errors."""
    page.locator("#error", has_text=re.compile(pattern)).wait_for()


def task(name, kind="sequence", labels=("a", "b"), **facts):
    """A task as `GET /v1/tasks` has it."""
    facts = {
        "max_length": 64,
        "pairs": False,
        "backend": "torch",
        "dtype": "fp32",
        "layers": {"0": 0.25, "2": 0.75},
        "card": f"# {name}\n",
        **facts,
    }
    labels = list(labels) if labels else None
    return {"name": name, "kind": kind, "labels": labels, "method": "m", "trainable_parameters": 9, "metrics": {}, **facts}


def labelled(label, score=0.9):
    """The answer of a sequence task with the labels `label` and b."""
    return {"label": label, "score": score, "scores": {label: score, "b": 1 - score}}


def answer(prediction, **facts):
    """An answer as `POST /v1/predict` has it."""
    return {"predictions": [prediction], "long_texts": [], "tokens": 7, "seconds": {"queued": 0.001, "computed": 0.02}, **facts}


def pretend(page, tasks, predict):
    """Answer the page's requests in the server's stead: `predict(request)` is an answer, or (status, headers, body)."""
    trunk = {"name": "tiny", "hidden_size": 32, "layers": 3, "backend": "torch", "dtype": "fp32"}

    def predicted(route):
        found = predict(route.request.post_data_json)
        status, headers, body = found if isinstance(found, tuple) else (200, {}, found)
        route.fulfill(status=status, headers=headers, body=json.dumps(body), content_type="application/json")

    page.route("**/v1/tasks", lambda route: route.fulfill(json={"trunk": trunk, "tasks": tasks}))
    page.route("**/v1/predict", predicted)


def marked(page, name):
    """[(span number, text that is marked for it)] of a token task, whose mark may be in several parts."""
    found = page.locator(f"article[data-task='{name}'] .marked").evaluate(
        """element => [...element.querySelectorAll("mark")].map(mark => {
            const copy = mark.cloneNode(true);
            copy.querySelectorAll(".tag").forEach(tag => tag.remove());
            return [Number(mark.dataset.span), copy.textContent];
        })"""
    )
    texts: dict[int, str] = {}
    for number, text in found:
        texts[number] = texts.get(number, "") + text
    return sorted(texts.items())
