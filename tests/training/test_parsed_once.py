from collections import Counter

import pytest
from synthetic import config, write_rows

from trunkline.data import columns, corpus
from trunkline.data.sources import read_table
from trunkline.tasks import span_column
from trunkline.training.fit import fit


@pytest.fixture
def counted(monkeypatch):
    """Counts the calls of functions: counted(module, name) before, counted.calls after."""
    calls = Counter()

    def count(module, name):
        plain = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *arguments: calls.update([name]) or plain(*arguments))

    count.calls = calls
    return count


def test_every_value_is_parsed_once_in_a_whole_fit_with_two_tasks(tiny_trunk_dir, tmp_path, counted):
    """Splits are drawn from the whole source, so what was parsed of it has to come along with the rows that are drawn."""
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    words = sum(map(len, read_table(str(rows)).columns["tokens"]))
    for module, name in ((columns, "label_of"), (columns, "to_iob2"), (columns, "clean"), (corpus, "look_up")):
        counted(module, name)
    fit(config(tiny_trunk_dir, rows, epochs=1), run_dir=tmp_path / "run")
    cleaned = 60 + 60 + 2 * words  # texts, labels, tokens, tags
    assert counted.calls == {"label_of": 60, "to_iob2": 60, "look_up": 60, "clean": cleaned}


def test_spans_and_the_words_that_they_lie_on_are_found_once(tiny_trunk_dir, tmp_path, counted):
    lines = write_rows(tmp_path / "rows.jsonl", 60).read_text().splitlines()
    spans = '[{"start": 0, "end": 1, "label": "x"}]'
    (tmp_path / "rows.jsonl").write_text("".join(f'{line[:-1]}, "spans": {spans}}}\n' for line in lines))
    values = config(tiny_trunk_dir, tmp_path / "rows.jsonl", tasks=("mood",), epochs=1)
    values["tasks"]["slots"] = {"kind": "token", "spans": "spans"}
    counted(corpus, "segment")
    counted(span_column, "spans_to_tags")
    fit(values, run_dir=tmp_path / "run")
    assert counted.calls == {"segment": 60, "spans_to_tags": 60}


@pytest.mark.parametrize("column", ["tokens", "tags", "text", "label"])
def test_what_is_parsed_is_held_once_where_nothing_has_to_change(tmp_path, column):
    table = read_table(str(write_rows(tmp_path / "rows.jsonl", 20)))
    read = {
        "tokens": lambda: columns.token_lists(table, "tokens"),
        "tags": lambda: columns.tag_lists(table, "tags", "tokens"),
        "text": lambda: columns.texts(table, "text"),
        "label": lambda: columns.labels(table, "label"),
    }[column]
    assert all(made is given for made, given in zip(read(), table.columns[column], strict=True))
