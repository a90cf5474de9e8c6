"""A run of several stages holds the changed trunk of the stage under way, and no other."""

from __future__ import annotations

import gc
import weakref

import pytest
from synthetic import config, write_rows

from trunkline.events import StageStarted
from trunkline.training.fit import fit
from trunkline.tuners import TunedTrunk


@pytest.mark.parametrize("regime", ["separate", "sequential", "fusion"])
def test_the_changed_trunk_of_an_earlier_stage_is_let_go(regime, tiny_trunk_dir, tmp_path, monkeypatch):
    trunks, alive = [], []
    real = TunedTrunk.__init__

    def noted(self, *arguments, **named):
        real(self, *arguments, **named)
        trunks.append(weakref.ref(self))

    class Stopped(BaseException):
        pass

    def look(event):
        if isinstance(event, StageStarted):
            gc.collect()
            alive.append(sum(trunk() is not None for trunk in trunks))
            if len(alive) == 2:
                raise Stopped

    monkeypatch.setattr(TunedTrunk, "__init__", noted)
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = {**config(tiny_trunk_dir, rows, epochs=1, regime=regime), "method": {"name": "adapter", "reduction": 4}}
    with pytest.raises(Stopped):
        fit(values, run_dir=tmp_path / "run", subscribers=[look])
    trunks.clear()
    fit(values, run_dir=tmp_path / "run", subscribers=[look])  # which does not need the trunk of the first stage at all
    assert len(alive) > 2 and set(alive) == {1}
