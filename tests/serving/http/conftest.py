"""A browser, and a server of every kind of task, for the tests of the page."""

from __future__ import annotations

import pytest
from browser import chromium
from everykind import bundle_of_every_kind
from pagetools import serving, watched


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    from trunkline.serving.engine import Engine

    with Engine(bundle_of_every_kind(tmp_path_factory.mktemp("trunk") / "tiny")) as engine:
        yield engine


@pytest.fixture(scope="module")
def address(engine):
    from trunkline.serving.http.app import create_app

    with serving(create_app(engine)) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser):
    with watched(browser) as page:
        yield page
