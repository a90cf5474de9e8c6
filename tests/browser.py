"""A headless browser, and how well what is written on a page can be read."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest

MISSING = "the page is tried in Chromium, which is not installed here (Debian and Ubuntu: apt-get install chromium)"
PATIENCE = 30_000  # milliseconds in which something has to be seen


@contextmanager
def chromium():
    """A headless browser; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="the page is tried with the package playwright")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip(MISSING)
    api.expect.set_options(timeout=PATIENCE)
    with api.sync_playwright() as driver, driver.chromium.launch(executable_path=program) as browser:
        yield browser


CONTRASTS = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgb = (color, under) => {
        canvas.fillStyle = `rgb(${under.join(" ")})`; canvas.fillRect(0, 0, 1, 1);
        canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const ground = element => {
        const under = element.parentElement ? ground(element.parentElement) : [255, 255, 255];
        return rgb(getComputedStyle(element).backgroundColor, under);
    };
    const found = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walk.nextNode()); ) {
        const element = node.parentElement;
        if (!node.data.trim() || !element.checkVisibility() || element.closest("noscript, .skip")) continue;
        const under = ground(element);
        const of = element.className || element.tagName;
        found.push([node.data.trim(), of, rgb(getComputedStyle(element).color, under), under]);
    }
    for (const element of document.querySelectorAll("textarea, input[type=password]")) {
        const under = ground(element.parentElement);
        found.push(["", element.id, rgb(getComputedStyle(element).borderTopColor, under), under]);
    }
    return found;
}"""


def contrast(one, other):
    """WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""

    def luminance(color):
        parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
