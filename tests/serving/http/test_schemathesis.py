"""Thousands of requests drawn from the OpenAPI document, and against it: no answer is an error of the server."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
from everykind import bundle_of_every_kind
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from trunkline.serving.engine import Engine
from trunkline.serving.http.app import create_app
from trunkline.serving.http.keys import Keys
from trunkline.serving.http.settings import Settings

HEALTH = list(HealthCheck)
ADMIN = {"Authorization": "Bearer admin-key-1"}


def answered(app, examples):
    """Call every operation with so many drawn requests; return how many had which status, and the errors of the server."""
    schemathesis = pytest.importorskip("schemathesis", reason="needs the package schemathesis")
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=ADMIN)
    statuses, wrong = Counter(), []

    def ask(case):
        response = case.call(headers=ADMIN)
        statuses[response.status_code] += 1
        own = isinstance(case.body, dict) and "timeout" in case.body  # what it asks for itself may be too short
        if response.status_code >= 500 and not (own and response.status_code == 504):
            wrong.append((case.operation.label, response.status_code, response.text[:200]))

    drawn = settings(max_examples=examples, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=HEALTH)
    for found in schema.get_all_operations():
        for mode in schemathesis.GenerationMode:
            cases = found.ok().as_strategy(generation_mode=mode)
            with suppress(Unsatisfiable):  # nothing of some operations can be wrong
                drawn(given(case=cases)(lambda case: ask(case)))()
    return statuses, wrong


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    place = tmp_path_factory.mktemp("served")
    with Engine(bundle_of_every_kind(place / "tiny")) as engine:
        (place / "branches").mkdir()
        yield create_app(engine, Settings(admin_keys=Keys(None, ["admin-key-1"]), branches=place / "branches"))


def test_a_few_requests_of_every_operation(app):
    statuses, wrong = answered(app, 2)
    assert wrong == [] and statuses.total() > 30 and statuses[200]


@pytest.mark.slow
def test_ten_thousand_requests(app):
    statuses, wrong = answered(app, 600)
    assert wrong == [] and statuses.total() >= 10_000
