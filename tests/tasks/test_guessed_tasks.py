"""What is guessed of a column is what the task then reads: no guess is refused by the task of its kind."""

import datetime
from decimal import Decimal

from guesstools import cycle, sentences
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data.corpus import build_corpus
from trunkline.data.guess import guess_columns
from trunkline.data.table import Table
from trunkline.tasks import kinds

NAN = float("nan")
CELLS = [
    "a", "B", "a b", "nan", "N/A", "-", "", "  ", None, NAN, 0, 1, 2, -1, 1.0, 0.5, True, False, "True", "false", "1", "0",
    "1.0", "007", "2E3", "1e-05", "3,5", "1,234", "1,234,567", "1_000", "x", "yes", "a|b", "a;b", "[]", "['a']", '["a", "b"]',
    "['a' 'b']", "[1, 0]", "[0, 1]", "(1, 2)", "{'a': 1}", "[", ["a"], ["a", "b"], [], [0, 1], [1, 1], [1.0, 0.0], [None],
    [["a"]], {"a": 1}, [{"start": 0, "end": 2, "label": "L"}], '[{"start": 0, "end": 2, "label": "L"}]', "2020-01-31",
    datetime.date(2020, 1, 31), datetime.datetime(2020, 1, 31, 10), Decimal("1.5"), b"raw", b"\xff", 10**20, "٣", "\ud800",
]  # fmt: skip
NAMES = st.sampled_from(["label", "score", "tags", "tokens", "code", "x"])


@settings(max_examples=50, deadline=None)
@given(NAMES, st.lists(st.sampled_from(CELLS), min_size=1, max_size=5), st.sampled_from([None, [], ["a"], ["nan", "1"]]))
def test_a_guessed_task_reads_its_column(name, values, missing):
    columns = {"text": sentences(24), "sure": cycle(["yes", "no"], 24), name: cycle(values, 24)}
    table = Table("x.csv", columns)
    found = guess_columns(table, missing=missing)
    for task, section in found.tasks.items():
        if section["kind"] == "token" and "spans" not in section:
            continue
        cls = kinds.get(section["kind"])
        corpus = build_corpus(table, text="text", units=section["kind"] == "token")
        fitted = cls.fit(task, cls.Config(**section, missing=missing), corpus)
        assert fitted.targets(corpus).present.any()
        fitted.findings(corpus), fitted.label_findings(corpus)
