"""A page as a browser reads it: its elements, attributes and texts, and whether any of them could do harm."""

from __future__ import annotations

import re
from html.parser import HTMLParser

EVIL = "<script>alert(1)</script> \"'><img src=x onerror=alert(1)> &amp; \x00\x1b[31m \ud800 </td></table>"
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
