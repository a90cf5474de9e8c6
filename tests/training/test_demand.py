import numpy as np
import pytest
from synthetic import config, write_rows

from trunkline.errors import BadInput
from trunkline.tasks import Targets
from trunkline.training import prepare as preparing
from trunkline.training.config import resolve
from trunkline.training.demand import demand
from trunkline.training.fit import fit
from trunkline.training.prepare import encode_splits, prepare
from trunkline.trunk import load_trunk


def prepared_with(trunk, tmp_path, types, crf):
    values = config(trunk, write_rows(tmp_path / "rows.jsonl", 60), tasks=("cities",))
    values["tasks"]["cities"] |= {"label_list": ["city", *(f"type{i}" for i in range(types - 1))], "crf": crf}
    return values, prepare(resolve(values))[0]


def units(count):
    return Targets(np.zeros(count, np.int8), np.ones(count, bool))


def test_a_crf_over_thousands_of_types_is_said_before_it_is_made(tiny_trunk_dir, tmp_path):
    """A run with 5,000 types was measured from outside: 4.9 GB."""
    _, prepared = prepared_with(tiny_trunk_dir, tmp_path, 5000, crf=True)
    task, targets = prepared.tasks["cities"], {name: split.targets["cities"] for name, split in prepared.splits.items()}
    needed = demand(task, targets)
    assert needed.bytes == pytest.approx(4.9e9, rel=0.1)
    assert needed.seconds == sum(len(targets[name].values) for name in ("train", "validation")) * 10_001**2 / 1e9
    encode_splits(prepared, load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu"), 64)
    (said,) = [said for said in prepared.findings if "GB" in said]
    assert said.startswith("the 10,001 outputs of 'cities' need about ") and said.endswith(" GB at once.")
    assert "hours an epoch" in demand(task, targets | {"train": units(10**6)}).sentence(task)


def test_what_no_memory_holds_is_refused_in_a_sentence(tiny_trunk_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "machine_bytes", lambda: 10**9)
    values, _ = prepared_with(tiny_trunk_dir, tmp_path, 5000, crf=True)
    with pytest.raises(BadInput) as error:
        fit(values, run_dir=tmp_path / "run")
    assert "tasks.cities: the 10,001 outputs of 'cities' need about " in str(error.value)
    assert str(error.value).endswith(" GB at once, but this machine has 1.0 GB; expected fewer labels or crf: false")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("crf", [False, True])
def test_tasks_of_ordinary_size_are_not_remarked_on(tiny_trunk_dir, tmp_path, crf):
    _, prepared = prepared_with(tiny_trunk_dir, tmp_path, 40, crf)
    targets = {name: split.targets["cities"] for name, split in prepared.splits.items()}
    assert not demand(prepared.tasks["cities"], targets).large
    many = demand(prepared.tasks["cities"], targets | {"test": units(50_000_000)})
    assert many.large and many.bytes >= 4 * 81 * 50_000_000
