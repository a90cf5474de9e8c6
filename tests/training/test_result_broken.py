"""A result.json that no run has written is told in one sentence."""

import json

import pytest

from trunkline.errors import BadInput
from trunkline.training.result import read_result, reads_pairs

WHOLE = {"identity": "x", "trunk": {}, "rows": {}, "tasks": {"mood": {}}, "cost": {}}


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", "3", "", '{"identity": NaN}', json.dumps(WHOLE | {"tasks": {"mood": 3}})]
)
def test_a_broken_result_is_refused(text, tmp_path):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(BadInput, match=r"result\.json: .*not the result of a run"):
        read_result(tmp_path)


def test_a_whole_one_is_read(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(WHOLE))
    assert read_result(tmp_path) == WHOLE


@pytest.mark.parametrize(("described", "expected"), [({"text_pair": "b"}, True), ({"text_pair": None}, False), ({}, False)])
def test_a_branch_says_whether_it_reads_pairs(tmp_path, described, expected):
    assert not reads_pairs(tmp_path)  # there is none any more
    (tmp_path / "branch.json").write_text(json.dumps(described))
    assert reads_pairs(tmp_path) == expected
