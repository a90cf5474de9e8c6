"""Branches that read all windows of long texts, asked with others in a bundle, in the engine and attached to a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bundletools import TEXTS as EVERY
from bundletools import make
from tiny import tiny_bert
from transformers import BertModel

from trunkline import attach
from trunkline.errors import BadInput
from trunkline.model.bundle import Bundle
from trunkline.model.plan import Plan
from trunkline.serving.engine import Engine
from trunkline.serving.http.cards import Catalogue
from trunkline.serving.http.models import TaskFacts
from trunkline.serving.request import Request
from trunkline.trunk.load import load_trunk

TEXTS = EVERY[:3]  # the second is a long one


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    return load_trunk(tiny_bert(tmp_path_factory.mktemp("trunk") / "tiny-bert"), dtype="fp32", device="cpu")


@pytest.fixture(scope="module", params=["right", "left"])
def bundle(trunk, request):
    """Branches of one pass; by the side that the tokenizer cuts, some of them read the text as it is cut first."""
    before, trunk.tokenizer.truncation_side = trunk.tokenizer.truncation_side, request.param
    yield Bundle(
        trunk,
        {
            "first": make(trunk, "sequence", max_length=12),
            "mean": make(trunk, "sequence", max_length=12, seed=1, long_texts="mean"),
            "max": make(trunk, "multilabel", max_length=12, seed=2, long_texts="max", method="probe"),
            "number": make(trunk, "regression", max_length=12, seed=3, long_texts="max"),
            "slots": make(trunk, "token", max_length=12, seed=4),
        },
    )
    trunk.tokenizer.truncation_side = before


def close(one, two):
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(close(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(close, one, two))
    return one == pytest.approx(two, abs=1e-4) if isinstance(one, float) else one == two


def windows(trunk, text):
    encoded = trunk.encode([text], max_length=12, windows=True)
    return [trunk.tokenizer.decode(ids[1:-1]) for ids in np.split(encoded.ids, encoded.offsets[1:-1])]


def test_each_branch_reads_long_texts_in_its_own_way_whatever_is_beside(bundle):
    (planned,) = bundle.plan.passes
    assert (planned.cut.windows, planned.cut.cut) == (True, True)
    together = bundle.predict_written(TEXTS)
    for name in bundle.branches:
        for text, answer in zip(TEXTS, together, strict=True):
            assert close(bundle.only([name]).predict_written([text])[0][name], answer[name]), (name, text)
    for text, answer in zip(TEXTS, together, strict=True):
        parts = bundle.only(["mean", "number"]).predict_written(windows(bundle.trunk, text))
        numbers = [part["number"]["value"] for part in parts]
        assert answer["number"]["value"] == pytest.approx(max(numbers), abs=1e-4)
        # log(softmax(x)) is x less a number: the same mean, but for a number, that softmax does not see
        mean = np.log([list(part["mean"]["scores"].values()) for part in parts]).mean(0)
        expected = np.exp(mean) / np.exp(mean).sum()
        assert list(answer["mean"]["scores"].values()) == pytest.approx(expected, abs=1e-4)


def test_the_engine_answers_as_the_bundle_also_where_windows_are_asked_for(bundle):
    usual = bundle.predict_written(TEXTS)
    with Engine(bundle) as engine:
        asked = [engine.submit(Request(TEXTS[i:] + TEXTS[:i])) for i in range(3)]
        for i, future in enumerate(asked):
            assert close(future.result().predictions, usual[i:] + usual[:i])
        some = engine.answer(Request(TEXTS, tasks=["mean"]))
        assert close(some.predictions, [{"mean": answer["mean"]} for answer in usual]) and some.long_texts
        read = engine.answer(Request(TEXTS, long_texts="windows")).predictions
        for name in ("mean", "max", "number", "slots"):
            assert close([answer[name] for answer in read], [answer[name] for answer in usual]), name
        assert not close([answer["first"] for answer in read], [answer["first"] for answer in usual])
        with pytest.raises(BadInput, match="found more than 12 tokens"):
            engine.answer(Request(TEXTS, tasks=["mean"], long_texts="refuse"))


def test_no_words_are_looked_for_where_no_branch_tags_them(bundle, monkeypatch):
    monkeypatch.setattr("trunkline.model.portions.segment", lambda text: 1 / 0)
    assert len(bundle.only(["mean", "first"]).predict(TEXTS)) == len(TEXTS)


def test_clients_are_told_what_is_read_of_long_texts(bundle):
    facts = {task["name"]: TaskFacts(**task) for task in Catalogue().of_bundle(bundle)["tasks"]}
    assert [facts[name].long_texts for name in ("first", "mean", "max", "slots")] == ["first", "mean", "max", None]
    assert "12 tokens (longer ones in windows, by their mean), and" in facts["mean"].card
    assert "12 tokens, and" in facts["first"].card


@torch.no_grad()
def test_an_attached_branch_reads_what_the_model_was_given_as_one_window_and_says_so(trunk):
    model = BertModel.from_pretrained(trunk.folder, add_pooling_layer=False).eval()
    branches = {
        "mean": make(trunk, "sequence", max_length=12, seed=1, long_texts="mean"),
        "first": make(trunk, "sequence", max_length=12, seed=1),
    }
    ids = trunk.tokenizer(TEXTS[1], return_tensors="pt")["input_ids"][:, :40]
    with pytest.warns(UserWarning, match="1 of 1 texts have more tokens") as said, attach(model, branches) as taps:
        model(input_ids=ids)
    assert taps["mean"] == taps["first"]
    assert [str(one.message).endswith("all of them were read, as one window") for one in said] == [True, False]


def test_a_plan_of_tasks_that_cut_reads_no_windows(trunk):
    plan = Plan({trunk.precision: trunk}, {"first": make(trunk, "sequence", max_length=12)})
    assert not plan.passes[0].cut.windows and plan.weight("a" * 1000) < 1000
