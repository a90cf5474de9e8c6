from __future__ import annotations

import re
from pathlib import Path

from trunkline.trunk.architectures import ARCHITECTURES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "trunks.md"


def test_the_page_tells_of_every_architecture_what_the_table_says():
    table = PAGE.read_text(encoding="utf-8").partition("## Architectures")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \| (.*) \| (.*) \|$", table, re.MULTILINE)
    told = {model_type: (states, last, left) for model_type, states, last, left in rows}
    assert list(told) == list(ARCHITECTURES)
    words = {"positions": ("position_ids",), "itself": ("itself", "relative"), "never": ("never",)}
    for model_type, (states, last, left) in told.items():
        row = ARCHITECTURES[model_type]
        assert any(word in left for word in words[row.left]), model_type
        assert ("final norm" in last) == (row.stacks["encoder"].norm is not None), model_type
        assert ("decoder" in states) == ("decoder" in row.stacks), model_type
