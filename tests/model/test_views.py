"""The error of a file that a branch cannot read names those that can, and no other."""

from __future__ import annotations

import dataclasses

import pytest
from bundletools import make
from tiny import tiny_bert

from trunkline.data.corpus import View
from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.model.bundle import Bundle
from trunkline.model.views import unreadable
from trunkline.trunk.load import load_trunk


@pytest.mark.parametrize(("column", "named"), [("body", True), ("neither", False)])
def test_only_branches_whose_columns_are_there_are_said_to_read_a_file(tmp_path, column, named):
    trunk = load_trunk(tiny_bert(tmp_path / "tiny"), dtype="fp32", device="cpu")
    mood = make(trunk, "sequence")
    bundle = Bundle(trunk, {"mood": mood, "topic": dataclasses.replace(mood, text="body")})
    table = Table("a.csv", {column: ["so good", "so bad"]})
    error = unreadable(bundle, ["mood"], table, View("text", None, None), BadInput("no such column"))
    assert ("cannot read it, topic can" in str(error)) is named and (" can" in str(error).replace("cannot", "")) is named
