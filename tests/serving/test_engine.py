"""The engine gives the answers of a bundle, whatever else is in a batch, and loses or mixes none."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest
import torch
from bundletools import TEXTS, make
from tiny import tiny_bert

from trunkline.errors import BadInput, TrunklineError
from trunkline.model.bundle import Bundle
from trunkline.model.words import joined
from trunkline.serving import engine as engines
from trunkline.serving.admission import Admission, weight
from trunkline.serving.engine import Engine, Limits
from trunkline.serving.observed import Computed
from trunkline.serving.request import Closed, Expired, Overloaded, Request
from trunkline.tasks import stopping
from trunkline.trunk.load import load_trunk


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    return load_trunk(tiny_bert(tmp_path_factory.mktemp("trunk") / "tiny-bert"), dtype="fp32", device="cpu")


@pytest.fixture(scope="module")
def bundle(trunk):
    return Bundle(
        trunk,
        {
            "mood": make(trunk, "sequence", max_length=12),
            "topic": make(trunk, "sequence", max_length=12, seed=1, method="scalar_mix"),
            "slots": make(trunk, "token", max_length=12, seed=2),
            "long": make(trunk, "sequence", max_length=40, seed=3),
            "pair": make(trunk, "sequence", max_length=30, seed=4, text_pair="other"),
        },
    )


@pytest.fixture(scope="module")
def singles(bundle):
    return bundle.only(["mood", "topic", "slots", "long"])


@pytest.fixture(scope="module")
def known(singles):
    """The prediction of each branch for each of TEXTS and a blank one, computed alone."""
    return {text: alone(singles, [text])[0] for text in [*TEXTS, " "]}


def rows(known, texts, tasks):
    return [{name: known[text][name] for name in tasks} for text in texts]


def same(found, expected):
    """Equal answers, but for scores that differ by less than 1e-4."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, float):
        return abs(found - expected) <= 1e-4
    return found == expected


def alone(bundle, texts, tasks=None, pairs=None):
    """What the branches say of each text by itself."""
    own = bundle.only(list(tasks or bundle.branches))
    pairs = pairs or [None] * len(texts)
    return [own.predict_written([text], None if pair is None else [pair])[0] for text, pair in zip(texts, pairs, strict=True)]


@pytest.mark.parametrize("batch_tokens", [16, 100, 4096])
def test_many_requests_get_the_answers_that_each_gets_alone(singles, known, batch_tokens):
    draw = random.Random(batch_tokens)
    asked = []
    for _ in range(40):
        texts = draw.choices([*TEXTS, " "], k=draw.randint(1, 4))
        asked.append((texts, draw.sample(list(singles.branches), draw.randint(1, 4))))
    events = []
    with Engine(singles, Limits(batch_tokens=batch_tokens), observe=events.append) as engine:
        futures = [engine.submit(Request(texts, tasks=tasks)) for texts, tasks in asked]
        for future, (texts, tasks) in zip(futures, asked, strict=True):
            answer = future.result(30)
            assert set(answer.branches) == set(tasks)
            assert same(answer.predictions, rows(known, texts, tasks))
    computed = [event for event in events if isinstance(event, Computed)]
    assert sum(event.texts for event in computed) == sum(text != " " for texts, _ in asked for text in texts)
    if batch_tokens == 4096:
        assert len(computed) < len(asked) / 2  # they shared batches


def test_pairs_are_read_by_the_tasks_that_read_pairs(bundle, singles):
    texts, pairs = TEXTS[:3], ["a film", " ", "so good"]
    with Engine(bundle) as engine:
        answer = engine.answer(Request(texts, pairs))
        assert same(answer.predictions, alone(bundle, texts, pairs=pairs))
        assert answer.predictions[1]["pair"]["label"] is None and answer.predictions[1]["mood"]["label"] is not None
        assert same(engine.answer(Request(texts, tasks=["mood"])).predictions, alone(bundle, texts, ["mood"]))
        assert "pair" not in engine.answer(Request(texts)).predictions[0]  # the others can answer
        with pytest.raises(BadInput, match="pairs: found none"):
            engine.submit(Request(texts, tasks=["pair", "mood"]))
        with pytest.raises(BadInput, match="found second texts"):
            engine.submit(Request(texts, pairs, tasks=["mood"]))


def test_words_may_be_given(bundle):
    own = bundle.only(["slots", "mood"])
    words = [["so", "good"], ["paris"]]
    with Engine(own) as engine:
        texts, units = joined(words)
        assert same(engine.answer(Request(words)).predictions, own.predict_written(texts, units=units))
        spans = engine.answer(Request("so good", units=[(0, 7)], tasks=["slots"])).predictions[0]["slots"]["spans"]
        assert all((span["start"], span["end"]) == (0, 7) for span in spans)


def test_a_text_that_is_too_long_is_cut_read_in_windows_or_refused(singles):
    text, short = TEXTS[1], TEXTS[0]  # 50 words: more than 12 tokens
    with Engine(singles) as engine:
        cut = engine.answer(Request([short, text], tasks=["mood"]))
        assert cut.long_texts == (1,) and same(cut.predictions, alone(singles, [short, text], ["mood"]))
        read = engine.answer(Request([short, text], tasks=["mood", "slots"], long_texts="windows"))
        assert read.long_texts == (1,)
        assert same(read.predictions[0], alone(singles, [short], ["mood", "slots"])[0])
        assert same(read.predictions[1]["slots"], alone(singles, [text], ["slots"])[0]["slots"])
        # the windows by hand: their logits averaged, by tokens
        encoded = singles.trunk.encode([text], max_length=12, windows=True)
        parts = [singles.trunk.tokenizer.decode(ids[1:-1]) for ids in np.split(encoded.ids, encoded.offsets[1:-1])]
        scores = [alone(singles, [part], ["mood"])[0]["mood"]["scores"].values() for part in parts]
        # log(softmax(x)) is x less a number: the same mean, but for a number, that softmax does not see
        mean = np.average(np.log([list(own) for own in scores]), axis=0, weights=encoded.lengths)
        expected = np.exp(mean) / np.exp(mean).sum()
        assert list(read.predictions[1]["mood"]["scores"].values()) == pytest.approx(expected, abs=1e-4)
        refused, other = engine.submit(Request([short, text], long_texts="refuse")), engine.submit(Request([short]))
        with pytest.raises(BadInput, match=r"text 2 \(texts\[1\]\): found more than 12 tokens"):
            refused.result(30)
        assert same(other.result(30).predictions, alone(singles, [short]))


def test_what_is_no_request_is_refused_at_once(singles):
    with Engine(singles) as engine:
        with pytest.raises(BadInput, match=r"texts\[1\]"):
            engine.submit(Request(["a", 3]))
        with pytest.raises(BadInput, match=r"'mod'.*'mood'"):
            engine.submit(Request("a", tasks=["mod"]))
        with pytest.raises(BadInput, match="tasks: found none"):
            engine.submit(Request("a", tasks=[]))
        assert engine.answer(Request([])).predictions == []
        assert engine.answer(Request([" "])).predictions == alone(singles, [" "])
        assert engine.admission.queued == 0
    with pytest.raises(Closed):
        engine.submit(Request("a"))


class Held:
    """The computing thread of an engine waits before each batch, for as long as the block lasts."""

    def __init__(self, monkeypatch):
        self.free, self.reached, run = threading.Event(), threading.Event(), engines.run_batch

        def waiting(*given):
            self.reached.set()
            assert self.free.wait(30)
            return run(*given)

        monkeypatch.setattr(engines, "run_batch", waiting)


def test_a_full_queue_refuses_and_says_when_to_come_back(singles, monkeypatch):
    held = Held(monkeypatch)
    with Engine(singles, Limits(queue_tokens=100)) as engine:
        engine.admission.computed(50, 1.0)  # 50 tokens in a second
        small = engine.submit(Request(TEXTS[:1]))
        first = engine.submit(Request(TEXTS * 3))  # it may be larger than the queue, also where others are there before it
        with pytest.raises(Overloaded) as refused:
            engine.submit(Request(TEXTS[:1]))
        assert refused.value.retry_after == pytest.approx((engine.admission.queued + 1 - 100) / 50, rel=0.2)
        held.free.set()
        assert len(first.result(30).predictions) == 27 and small.result(30).predictions
        assert engine.answer(Request(TEXTS[:1])).predictions


def test_the_queue_counts_tokens_once_they_are_known(singles, monkeypatch):
    held = Held(monkeypatch)
    with Engine(singles) as engine:
        first = engine.submit(Request("a film"))
        assert held.reached.wait(30)
        texts = ["! " * 100, "!" * 100]  # 100 tokens each for 100 and 200 characters
        waiting = [engine.submit(Request(text, tasks=["slots"])) for text in [*texts, "a" + "\u200b" * 500]]
        while len(engine._waiting) < 3:
            time.sleep(0.01)
        counted = sum(singles.trunk.encode([text], max_length=12, windows=True).lengths.sum() for text in texts)
        counted += 501  # words, of which all but one have no token
        assert engine.admission.queued == counted + first_tokens(singles) > 200
        engine.admission.limit = engine.admission.queued
        with pytest.raises(Overloaded):
            engine.submit(Request("a"))
        held.free.set()
        assert all(future.result(30).predictions for future in [first, *waiting])
        assert engine.admission.queued == engine.admission.requests == 0


def test_what_is_estimated_of_scripts():
    """About 0.3 tokens a character of Latin script, with accents or without, and one a character of CJK."""
    for text, least, most in [("a film " * 100, 0.3, 0.3), ("caf\u00e9 film" * 100, 0.3, 0.35), ("\u4e2d\u6587" * 100, 1, 1)]:
        assert least - 0.01 <= Admission.estimated(weight(text), 0) / len(text) <= most + 0.01
    assert weight("") == 0 and weight("\ud800") > 1


def first_tokens(singles):
    """Tokens of "a film" in the passes of all tasks."""
    return sum(int(one.trunk.encode(["a film"], max_length=one.cut.max_length).lengths.sum()) for one in singles.plan.passes)


def test_nothing_waits_for_what_takes_long_to_decode(singles, monkeypatch):
    free, show = threading.Event(), engines.present

    def slow(finished, name):
        if finished.slow:
            assert free.wait(30)
        return show(finished, name)

    monkeypatch.setattr(engines, "present", slow)
    with Engine(singles) as engine:
        long = engine.submit(Request("! " * 2000, tasks=["slots", "mood"]))
        assert engine.answer(Request("so good")).predictions and not long.done()
        gone = engine.submit(Request("! " * 2000, tasks=["slots"]))
        gone.cancel()
        free.set()
        assert same(long.result(30).predictions, alone(singles, ["! " * 2000], ["slots", "mood"]))


def test_what_nobody_waits_for_is_not_decoded_further(singles, monkeypatch):
    begun, show = threading.Event(), engines.present

    def endless(finished, name):
        if finished.slow:
            begun.set()
            while True:
                stopping.check()
                time.sleep(0.001)
        return show(finished, name)

    monkeypatch.setattr(engines, "present", endless)
    with Engine(singles) as engine:
        gone = engine.submit(Request("! " * 2000, tasks=["slots"]))
        assert begun.wait(30) and gone.cancel()
        late = engine.submit(Request("! " * 2000, tasks=["slots"], timeout=0.5))
        with pytest.raises(Expired, match="timeout passed before its texts were"):
            late.result(30)
        assert engine.answer(Request("so good")).predictions and engine.admission.requests == 0


def test_a_refused_text_leaves_the_count_of_others_right(singles):
    with Engine(singles) as engine:
        counts = [engine.answer(Request(text)).tokens for text in TEXTS[:2]]
        for _ in range(5):
            refused = engine.submit(Request(TEXTS[1], long_texts="refuse"))
            others = [engine.submit(Request(text)) for text in TEXTS[:2]]
            assert [other.result(30).tokens for other in others] == counts
            with pytest.raises(BadInput):
                refused.result(30)


def test_an_expired_or_cancelled_request_is_not_computed(singles, monkeypatch):
    held = Held(monkeypatch)
    with Engine(singles) as engine:
        first = engine.submit(Request("a film"))
        assert held.reached.wait(30)
        late = engine.submit(Request(["good film"], timeout=0.0))
        gone, kept = engine.submit(Request(["bad film"])), engine.submit(Request(["slow film"]))
        assert gone.cancel()
        texts = []
        engine.observe = lambda event: texts.append(event.texts) if isinstance(event, Computed) else None
        held.free.set()
        assert kept.result(30).predictions and first.result(30).predictions
        with pytest.raises(Expired):
            late.result(30)
        with pytest.raises(CancelledError):
            gone.result(30)
        assert sum(texts) == 2 and engine.admission.queued == 0


def test_one_request_that_fails_takes_no_other_along(singles, monkeypatch):
    run = engines.run_batch

    def failing(texts, *rest):
        if any("paris" in text.job.asked.texts[text.number] for text in texts):
            raise RuntimeError("about paris")
        return run(texts, *rest)

    held = Held(monkeypatch)
    with Engine(singles) as engine:
        first = engine.submit(Request("a film"))
        assert held.reached.wait(30)
        monkeypatch.setattr(engines, "run_batch", failing)
        futures = [engine.submit(Request([text])) for text in ("good film", "in paris", "bad film")]
        held.free.set()
        first.result(30)
        assert same([futures[i].result(30).predictions[0] for i in (0, 2)], alone(singles, ["good film", "bad film"]))
        with pytest.raises(TrunklineError, match=r"could not be computed \(RuntimeError\)$") as error:
            futures[1].result(30)
        assert "paris" not in str(error.value)
        assert engine.alive and engine.answer(Request("so slow")).predictions


def changed_under_load(trunk, singles, changes):
    """Add, replace and remove a branch that often, while others are asked; return what changed, and failures."""
    wrong, ended = [], threading.Event()
    with Engine(singles.only(["mood", "slots"])) as engine:
        expected = engine.answer(Request(TEXTS, tasks=["mood", "slots"])).predictions

        def ask():
            while not ended.is_set():
                try:
                    if not same(engine.answer(Request(TEXTS, tasks=["mood", "slots"])).predictions, expected):
                        wrong.append("another answer")
                except Exception as error:
                    wrong.append(error)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for seed in range(changes):
            engine.add("new", make(trunk, "sequence", seed=seed))
            own = Bundle(trunk, {"new": make(trunk, "sequence", seed=seed)})
            assert same(engine.answer(Request(TEXTS[:2], tasks=["new"])).predictions, own.predict_written(TEXTS[:2]))
            engine.replace("new", make(trunk, "token", seed=seed))
            assert "spans" in engine.answer(Request("a", tasks=["new"])).predictions[0]["new"]
            engine.remove("new")
            with pytest.raises(BadInput, match="new"):
                engine.submit(Request("a", tasks=["new"]))
        ended.set()
        for thread in threads:
            thread.join()
    return wrong


def test_branches_come_and_go_while_requests_run(trunk, singles):
    assert changed_under_load(trunk, singles, 2) == []


@pytest.mark.slow
def test_a_hundred_changes_under_load(trunk, singles):
    assert changed_under_load(trunk, singles, 100) == []


@pytest.mark.slow
def test_no_bit_of_another_answer_changes(trunk, singles):
    with Engine(singles) as engine:
        expected = engine.answer(Request(TEXTS, tasks=list(singles.branches))).predictions
        for seed in range(10):
            for change in (engine.add, engine.replace):
                change("new", make(trunk, "sequence" if change == engine.add else "token", seed=seed))
                assert engine.answer(Request(TEXTS, tasks=list(singles.branches))).predictions == expected
            engine.remove("new")
            assert engine.answer(Request(TEXTS, tasks=list(singles.branches))).predictions == expected


def test_names_of_changes_are_checked(trunk, singles):
    with Engine(singles) as engine:
        with pytest.raises(BadInput, match="already a branch called 'mood'"):
            engine.add("mood", make(trunk, "sequence"))
        with pytest.raises(BadInput, match="'new'"):
            engine.replace("new", make(trunk, "sequence"))


def test_a_branch_that_answers_wrongly_is_not_put_in(trunk, singles):
    broken = make(trunk, "sequence", seed=9)
    with torch.no_grad():
        next(broken.module.parameters()).fill_(float("nan"))
    with Engine(singles) as engine:
        with pytest.raises(BadInput, match=r"'broken'.*not finite"):
            engine.add("broken", broken)
        assert "broken" not in engine.branches and engine.answer(Request("a")).predictions


def test_closing_answers_what_is_there(singles, monkeypatch):
    held = Held(monkeypatch)
    engine = Engine(singles)
    futures = [engine.submit(Request([text])) for text in TEXTS]
    assert held.reached.wait(30) and not engine.close(0.01)
    with pytest.raises(Closed):
        engine.submit(Request("a"))
    held.free.set()
    assert engine.close(30) and all(future.done() for future in futures) and not engine.alive


def ask_in_threads(engine, singles, known, requests, threads=8):
    names = list(singles.branches)
    wrong = []

    def work(number):
        draw = random.Random(number)
        for _ in range(requests // threads):
            texts, tasks = draw.sample(TEXTS, draw.randint(1, 3)), draw.sample(names, draw.randint(1, len(names)))
            answer = engine.answer(Request(texts, tasks=tasks))
            if not same(answer.predictions, rows(known, texts, tasks)):
                wrong.append((texts, tasks))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return wrong


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_get_the_answers_of_one_caller(singles, known, workers):
    with Engine(singles, Limits(workers=workers)) as engine:
        assert ask_in_threads(engine, singles, known, 160) == []
    assert not engine.alive


def test_workers_compute_at_the_same_time(singles, known, monkeypatch):
    both, run = threading.Barrier(2, timeout=30), engines.run_batch

    def together(*given):
        both.wait()  # a worker alone would wait in vain
        return run(*given)

    monkeypatch.setattr(engines, "run_batch", together)
    with Engine(singles, Limits(workers=2, batch_tokens=1)) as engine:
        futures = [engine.submit(Request(TEXTS[:1], tasks=["mood"])), engine.submit(Request(TEXTS[1:2], tasks=["mood"]))]
        assert same([row for future in futures for row in future.result(30).predictions], rows(known, TEXTS[:2], ["mood"]))


@pytest.mark.slow
def test_ten_thousand_requests_of_eight_threads(singles, known):
    with Engine(singles) as engine:
        assert ask_in_threads(engine, singles, known, 10_000) == []


def test_padding_is_counted_as_it_is_computed(singles):
    events = []
    with Engine(singles, Limits(batch_tokens=12), observe=events.append) as engine:
        tokens = engine.answer(Request(TEXTS[1], tasks=["slots"])).tokens
    (computed,) = (event for event in events if isinstance(event, Computed))
    assert computed.tokens == tokens and tokens % 12  # windows of 12 tokens and a shorter one, each in a batch of its own:
    assert computed.padded == tokens  # none is padded to the length of another
