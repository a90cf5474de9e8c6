"""Claim: `trunkline predict RUN --text T` takes at most half of the processor time that it took in version 0.1.

A run of intent and slots on the embedded trunk is made once (a single step, as nothing here depends on the weights). Then both
sides start a new process for each measurement: user and system time of the whole command, from the interpreter's start to its
end. Without --other, which names another checkout, the other side is an interpreter that only imports torch and the class of
the trunk's model: what every program pays that runs this trunk with these libraries. Not measured: reading from a cold disk.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from common import finish, interleave, parser, ratio_of, result, runs_of

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "from trunkline.cli import main; main()"
BARE = "import torch; from transformers import BertModel"


def cpu_seconds(words: list[str], folder: Path, source: Path) -> float:
    """Processor seconds of one Python process, its children included."""
    environment = os.environ | {"PYTHONPATH": str(source), "TRUNKLINE_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", *words], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    arguments = parser(__doc__, repeats=5)
    arguments.add_argument("--other", type=Path, metavar="FOLDER", help="another checkout, the other side")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, ours = Path(name), ROOT / "src"
        rows = [{"text": f"play song {number}", "label": "ab"[number % 2]} for number in range(20)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        theirs = ours if options.other is None else options.other / "src"
        cpu_seconds([COMMAND, "fit", "rows.jsonl", "training.epochs=1", "--run-dir", "run"], folder, theirs)
        commands = {
            "predict --text": [COMMAND, "predict", "run", "--text", "play some jazz"],
            "--help": [COMMAND, "--help"],
        }
        sides = {f"{name}, here": lambda words=words: cpu_seconds(words, folder, ours) for name, words in commands.items()}
        if options.other is None:
            sides["libraries alone"] = lambda: cpu_seconds([BARE], folder, ours)
            under, target = "libraries alone", "<= 1.5"
            times = interleave(sides, repeats=options.repeats, measure=lambda side: side())
            ratio = ratio_of(times, "predict --text, here", under)
        else:
            sides |= {
                f"{name}, there": lambda words=words: cpu_seconds(words, folder, theirs) for name, words in commands.items()
            }
            target = ">= 2"
            times = interleave(sides, repeats=options.repeats, measure=lambda side: side())
            ratio = ratio_of(times, "predict --text, there", "predict --text, here")
        finish(result("startup", ratio, target, runs_of(times, "cpu seconds")), as_json=options.json)


if __name__ == "__main__":
    main()
