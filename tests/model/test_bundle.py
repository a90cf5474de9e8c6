"""A bundle: each branch answers as it does alone, whoever rides beside it and however many threads ask."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from bundletools import TEXTS, make
from tiny import tiny_bert

from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.model import portions, prepared
from trunkline.model.bundle import Bundle
from trunkline.model.tables import predict_table
from trunkline.trunk.load import load_trunk


def load(folder, dtype="fp32"):
    return load_trunk(folder, dtype=dtype, device="cpu")


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    return load(tiny_bert(tmp_path_factory.mktemp("trunk") / "tiny-bert"))


def predict_in_threads(trunk, predictions):
    bundles = [
        Bundle(trunk, {"mood": make(trunk, "sequence", max_length=10), "slots": make(trunk, "token", max_length=10, seed=1)}),
        Bundle(trunk, {"topic": make(trunk, "sequence", max_length=40), "names": make(trunk, "token", max_length=40, seed=2)}),
    ]
    asked = [TEXTS[i : i + 2] for i in range(len(TEXTS) - 1)]
    expected = [[bundle.predict(texts) for texts in asked] for bundle in bundles]
    wrong, threads = [], 8

    def work(number):
        try:
            for turn in range(predictions // threads):
                which, what = (number + turn) % 2, (number + turn // 2) % len(asked)
                if bundles[which].predict(asked[what]) != expected[which][what]:
                    wrong.append((which, what))
        except Exception as error:
            wrong.append(repr(error))

    workers, interval = [threading.Thread(target=work, args=(i,)) for i in range(threads)], sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    return wrong


def test_threads_get_the_answers_of_one(trunk):
    assert predict_in_threads(trunk, 240) == []


@pytest.mark.slow
def test_ten_thousand_predictions_in_threads(trunk):
    assert predict_in_threads(trunk, 10_000) == []


def test_a_plan_is_replaced_when_branches_come_and_go(trunk):
    mood, slots = make(trunk, "sequence"), make(trunk, "token", seed=1)
    bundle = Bundle(trunk, {"mood": mood})
    plan, alone = bundle._plan, bundle.predict(TEXTS)
    bundle.add("slots", slots)
    assert list(bundle.branches) == ["mood", "slots"] and list(plan.branches) == ["mood"]
    both = bundle.predict(TEXTS)
    assert [list(answer) for answer in both] == [["mood", "slots"]] * len(TEXTS)
    with pytest.raises(BadInput, match="there is already a branch called 'slots'"):
        bundle.add("slots", slots)
    with pytest.raises(TypeError):
        bundle.branches["other"] = mood
    assert bundle.remove("slots") is slots and bundle.predict(TEXTS) == alone
    with pytest.raises(BadInput, match="'slot'"):
        bundle.remove("slot")


def test_a_prediction_keeps_the_plan_that_it_began_with(trunk):
    bundle = Bundle(trunk, {"mood": make(trunk, "sequence"), "slots": make(trunk, "token", max_length=20)})
    expected = bundle.predict(TEXTS)

    def change(done):
        if "slots" in bundle.branches:
            bundle.remove("slots")
            bundle.add("other", make(trunk, "sequence", seed=5))

    assert bundle.predict(TEXTS, progress=change) == expected
    assert list(bundle.branches) == ["mood", "other"]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_text_branch_answers_the_same_beside_a_token_branch(tmp_path, side):
    trunk = load(tiny_bert(tmp_path / "trunk"))
    trunk.tokenizer.truncation_side = side
    mood, slots = make(trunk, "sequence", max_length=12), make(trunk, "token", max_length=12, seed=1)
    together = Bundle(trunk, {"mood": mood, "slots": slots}).predict(TEXTS)
    for name, branch in (("mood", mood), ("slots", slots)):
        for one, all_ in zip(Bundle(trunk, {name: branch}).predict(TEXTS), together, strict=True):
            assert close(one[name], all_[name])


def close(one, two):
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(close(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(close, one, two))
    return one == pytest.approx(two, abs=1e-5) if isinstance(one, float) else one == two


@pytest.mark.parametrize("order", [["wide", "narrow"], ["narrow", "wide"]])
def test_each_branch_reads_the_trunk_in_the_precision_that_it_was_trained_on(tmp_path, trunk, order):
    branches = {"wide": make(trunk, "sequence"), "narrow": make(trunk, "sequence", seed=1, precision="bf16")}
    branches["narrow"].trunk = replace(branches["narrow"].trunk, dtype="bf16")
    narrow = load(trunk.folder, "bf16")
    alone = {
        "wide": Bundle(trunk, {"wide": branches["wide"]}).predict(TEXTS),
        "narrow": Bundle(narrow, {"narrow": branches["narrow"]}).predict(TEXTS),
    }
    for given in (trunk, narrow):
        together = Bundle(given, {name: branches[name] for name in order}).predict(TEXTS)
        assert Bundle(given, {name: branches[name] for name in order}).only(order[:1]).predict(TEXTS) == [
            {order[0]: answer[order[0]]} for answer in together
        ]
        for name in order:
            assert [answer[name] for answer in together] == [answer[name] for answer in alone[name]]


def test_one_text_gives_one_prediction(trunk):
    bundle = Bundle(trunk, {"mood": make(trunk, "sequence"), "slots": make(trunk, "token", seed=1)})
    assert bundle.predict("play a song") == bundle.predict(["play a song"])[0]
    assert bundle.predict("play", units=[(0, 4)]) == bundle.predict(["play"])[0]
    assert bundle.predict([]) == []


@pytest.mark.parametrize(
    ("units", "sentence"),
    [
        ([[(0, 1)]] * 3, "units: found 3 lists of spans, expected one for each of 1 texts"),
        ([], "units: found 0 lists of spans, expected one for each of 1 texts"),
        ([[(0, 99)]], "units[0][0]: found (0, 99), expected 0 <= start <= end <= 11"),
        ([[(0, 2), (5, 3)]], "units[0][1]: found (5, 3), expected 2 <= start <= end <= 11"),
        ([[(0, 4), (2, 6)]], "units[0][1]: found (2, 6), expected 4 <= start <= end <= 11"),
        ([[(-1, 4)]], "units[0][0]: found (-1, 4), expected 0 <= start <= end <= 11"),
        ([[(0.0, 4)]], "units[0][0]: found tuple, expected pairs of first character and end, as whole numbers"),
        ([[(0, 1, 2)]], "units[0][0]: found tuple, expected pairs of first character and end, as whole numbers"),
        ([[3]], "units[0][0]: found int, expected pairs of first character and end, as whole numbers"),
        ([None], "units[0]: found NoneType, expected pairs of first character and end, as whole numbers"),
        (7, "units: found int, expected a list of spans for each text"),
        ({0: [(0, 4)]}, "units: found dict, expected a list of spans for each text"),
    ],
)
def test_units_that_do_not_fit_the_texts_are_one_sentence(trunk, units, sentence):
    bundle = Bundle(trunk, {"slots": make(trunk, "token")})
    with pytest.raises(BadInput) as error:
        bundle.predict(["play a song"], units=units)
    assert str(error.value) == sentence
    with pytest.raises(BadInput, match=r"^units\[1\]: found \(5, 3\), expected 2 <= start"):
        bundle.predict("play a song", units=[(0, 2), (5, 3)])


def test_units_may_be_arrays(trunk):
    bundle = Bundle(trunk, {"mood": make(trunk, "sequence"), "slots": make(trunk, "token", seed=1)})
    expected = bundle.predict(["play a song"])
    spans = np.array([[0, 4], [5, 6], [7, 11]])
    assert bundle.predict(["play a song"], units=spans[None]) == bundle.predict(["play a song"], units=[spans]) == expected
    assert bundle.predict("play a song", units=spans) == expected[0]
    assert bundle.predict("play a song", units=[])["slots"]["spans"] == []


@pytest.mark.parametrize(
    ("texts", "kind"), [({"text": "x"}, "dict"), (5, "int"), (None, "NoneType"), (b"x", "bytes"), ({"x"}, "set")]
)
def test_what_is_no_list_of_texts_is_one_sentence(trunk, texts, kind):
    bundle = Bundle(trunk, {"fits": make(trunk, "sequence", text_pair="answer")})
    for what, given in (("texts", (texts, ["so"])), ("pairs", (["so"], texts))):
        if given[1] is not None:
            with pytest.raises(BadInput, match=f"^{what}: found {kind}, expected a string or a list of strings$"):
                bundle.predict(*given)


def test_only_of_an_unknown_branch_names_the_nearest(trunk):
    bundle = Bundle(trunk, {"mood": make(trunk, "sequence")})
    with pytest.raises(BadInput, match="branch: unknown name 'zz'; expected one of mood"):
        bundle.only(["zz"])
    assert list(bundle.only(iter(["mood"])).branches) == ["mood"]


def test_second_texts_are_given_exactly_where_a_branch_reads_them(trunk):
    single, pair = make(trunk, "sequence"), make(trunk, "sequence", seed=1, text_pair="answer")
    one, two = Bundle(trunk, {"mood": single}), Bundle(trunk, {"fits": pair})
    assert two.predict("play", "a song") == two.predict(["play"], ["a song"])[0] != two.predict("play", "paris")
    with pytest.raises(BadInput, match="pairs: found second texts, expected none"):
        one.predict(["play"], ["a song"])
    with pytest.raises(BadInput, match="found none, expected the second text of each, as branch 'fits' was trained on"):
        two.predict(["play"])
    with pytest.raises(BadInput, match="pairs: found 1 for 2 texts"):
        two.predict(["play", "so"], ["a song"])
    with pytest.raises(BadInput, match=r"second text 1 \(pairs\[0\]\): found int"):
        two.predict(["play"], [3])
    for texts, pairs in (("play", ["a song"]), (["play"], "a song")):
        with pytest.raises(BadInput, match="pairs: found"):
            two.predict(texts, pairs)
    both = Bundle(trunk, {"mood": single, "fits": pair}).predict(TEXTS[:2], ["so", "paris"])
    assert [answer["mood"] for answer in both] == [answer["mood"] for answer in one.predict(TEXTS[:2])]
    assert [answer["fits"] for answer in both] == [answer["fits"] for answer in two.predict(TEXTS[:2], ["so", "paris"])]


def test_a_table_must_have_the_second_texts_that_a_branch_reads(trunk):
    bundle = Bundle(trunk, {"mood": make(trunk, "sequence"), "fits": make(trunk, "sequence", text_pair="answer")})
    with pytest.raises(BadInput, match="--text: no column 'answer' found, expected one with second texts, as branch 'fits'"):
        predict_table(bundle, Table("--text", {"text": ["so"]}))
    [row] = predict_table(bundle, Table("rows.csv", {"text": ["so"], "answer": ["paris"]}))
    assert set(row.answers) == {"mood", "fits"} and row.own == {"text": "so", "answer": "paris"}


def test_a_table_of_long_texts_is_predicted_in_parts(trunk, monkeypatch):
    bundle = Bundle(trunk, {"slots": make(trunk, "token")})
    table = Table("rows.csv", {"text": ["so good " * 200, "so", "bad film " * 150, "paris"], "id": [0, 1, 2, 3]})
    expected, sizes, divide = predict_table(bundle, table), [], prepared.corpus_for
    monkeypatch.setattr(portions, "CHUNK_CHARACTERS", 1000)
    monkeypatch.setattr(
        prepared, "corpus_for", lambda b, n, part, *how, **k: [sizes.append(len(part)), divide(b, n, part, *how, **k)][1]
    )
    found = predict_table(bundle, table)
    assert [row.own for row in found] == [row.own for row in expected] and sizes == [1, 1, 1, 1]
    assert all(close(one.answers, two.answers) for one, two in zip(found, expected, strict=True))


@pytest.mark.parametrize(("kind", "calls"), [("sequence", 1), ("token", 4)])
def test_long_texts_are_predicted_a_few_at_a_time(trunk, monkeypatch, kind, calls):
    """Those that are cut cost no more than what is read of them."""
    texts, sizes = ["so good " * 400, "so", "bad film " * 300, "paris", "tokyo"], []
    bundle = Bundle(trunk, {"one": make(trunk, kind, max_length=10)})
    expected, answer = bundle.predict(texts), portions.answered

    def counted(plan, some, *others):
        sizes.append(len(some.corpora[False]))
        return answer(plan, some, *others)

    monkeypatch.setattr(portions, "answered", counted)
    monkeypatch.setattr(portions, "CHUNK_CHARACTERS", 1000)
    assert all(map(close, bundle.predict(texts), expected))
    assert len(sizes) == calls and sum(sizes) == len(texts)
