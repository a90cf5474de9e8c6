"""The measuring that every benchmark rests on: order of the sides, the ratio, the verdict, and what is printed."""

from __future__ import annotations

import json
import runpy
import sys
import time

import common
import pytest
import run_all


def test_sides_take_turns_and_warmup_does_not_count():
    calls = []
    answers = iter(range(100))

    def side(name):
        return lambda: calls.append(name) or next(answers)

    times = common.interleave({"a": side("a"), "b": side("b")}, repeats=3, warmup=1, measure=lambda s: float(s()))
    assert calls == ["b", "a", "a", "b", "b", "a", "a", "b"]  # warm-up backwards, then forwards, backwards, forwards
    assert times == {"a": [2.0, 5.0, 6.0], "b": [3.0, 4.0, 7.0]}


def test_seconds_sees_the_call_it_times():
    assert 0.05 <= common.seconds(lambda: time.sleep(0.05)) < 1


def test_ratio_is_paired_by_round():
    # the machine halves its speed after the first round: pairs still say 2, while medians of the sides would say 2 by luck only
    assert common.ratio_of({"slow": [2.0, 4.0, 40.0], "fast": [1.0, 2.0, 20.0]}, "slow", "fast") == 2.0
    assert common.ratio_of({"slow": [3.0, 10.0, 12.0], "fast": [1.0, 1.0, 6.0]}, "slow", "fast") == 3.0
    with pytest.raises(ValueError, match="shorter"):
        common.ratio_of({"slow": [1.0, 2.0], "fast": [1.0]}, "slow", "fast")


@pytest.mark.parametrize(
    ("ratio", "target", "expected"),
    [(10.0, ">= 10", True), (9.99, ">= 10", False), (1.35, "<= 1.35", True), (1.3501, "<= 1.35", False)],
)
def test_holds_at_the_bound(ratio, target, expected):
    assert common.holds(ratio, target) is expected


def test_verdict_comes_from_the_unrounded_ratio():
    outcome = common.result("x", 9.99999, ">= 10", [])
    assert outcome == {"name": "x", "ratio": 10.0, "target": ">= 10", "holds": False, "runs": []}


def test_a_ratio_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="nan"):
        common.result("x", float("nan"), ">= 10", [])
    with pytest.raises(KeyError):
        common.holds(1.0, "about 10")


def test_json_is_the_only_thing_on_stdout(capsys):
    runs = common.runs_of({"store": [1.0, 3.0, 2.0]}, dtype="bf16")
    common.finish(common.result("x", 3.0, ">= 2", runs), as_json=True)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out)["runs"] == [{"side": "store", "dtype": "bf16", "median": 2.0, "seconds": [1.0, 3.0, 2.0]}]


def test_a_table_for_people(capsys):
    common.finish(common.result("store_vs_live", 3.0, ">= 10", common.runs_of({"store": [1.25]})), as_json=False)
    out = capsys.readouterr().out
    assert "1.25" in out and "target >= 10: MISSED" in out


def test_parser_refuses_no_rounds(capsys):
    arguments = common.parser("what it claims", repeats=5)
    assert vars(arguments.parse_args([])) == {"json": False, "repeats": 5}
    with pytest.raises(SystemExit):
        arguments.parse_args(["--repeats", "0"])
    assert "less than 1" in capsys.readouterr().err


def test_machine_names_what_figures_depend_on():
    import torch

    box = common.machine()
    assert box["cpu"] and box["cores"] >= 1 and box["memory_gib"] >= 1
    assert box["versions"]["torch"] == torch.__version__
    json.dumps(box)


MAIN = """
if __name__ == "__main__":
    """
SCRIPT = """
import sys
print("progress", file=sys.stderr)
print("a stray line")
""" + (MAIN + """print('{"name": "good", "ratio": 12.0, "target": ">= 10", "holds": %s, "runs": []}')""")


def _folder(tmp_path, monkeypatch, **scripts):
    for name, text in scripts.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "common.py").write_text("raise SystemExit('shared files are not benchmarks')")
    monkeypatch.setattr(run_all, "scripts", lambda folder=tmp_path, original=run_all.scripts: original(folder))


def test_run_all_reports_what_holds_fails_and_says_nothing(tmp_path, monkeypatch, capsys):
    _folder(tmp_path, monkeypatch, good=SCRIPT % "true", crash=MAIN + "raise SystemExit(3)", silent=MAIN + "pass")
    assert run_all.main(["--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    by_name = {outcome["name"]: outcome for outcome in report["benchmarks"]}
    assert by_name["good"]["holds"] is True and by_name["good"]["ratio"] == 12.0
    assert by_name["crash"]["error"] == "exit code 3"
    assert "no JSON" in by_name["silent"]["error"]
    assert len(by_name) == 3


def test_run_all_exit_code_and_table(tmp_path, monkeypatch, capsys):
    _folder(tmp_path, monkeypatch, good=SCRIPT % "true")
    assert run_all.main([]) == 0
    out = capsys.readouterr().out
    assert "good" in out and "12" in out and "torch" in out
    _folder(tmp_path, monkeypatch, good=SCRIPT % "false")
    assert run_all.main([]) == 1


@pytest.mark.parametrize("script", run_all.scripts(), ids=lambda path: path.name)
def test_every_script_starts_and_takes_json(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "--json" in out and "--repeats" in out
