"""The page to try tasks with, in a browser: an HTML file, a style sheet and a few modules of JavaScript, served as they are.

index.html     what stands on the page
main.js        what is asked when, and which answer is shown
api.js         requests to the server, and sentences for those that are refused
answers.js     the answer of each task; marks.js spans in a text; layers.js which layers a task reads
tasks.js       the tasks and their model cards; markdown.js the part of Markdown that these use
examples.js    texts to click; dom.js elements, and numbers as text
"""

from __future__ import annotations

from importlib.resources import files

TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


def page_files() -> dict[str, tuple[bytes, str]]:
    """The content and the media type of each file of the page, by its address."""
    found = {}
    for file in files(__name__).iterdir():
        if media_type := TYPES.get(file.name.rpartition(".")[2]):
            found["/" if file.name == "index.html" else f"/page/{file.name}"] = file.read_bytes(), media_type
    return found


PAGES = frozenset(page_files())
