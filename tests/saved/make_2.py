"""Make the branches of schema 2 beside this file, in schema_2/, and what they answer; they are kept as they are (see make.py).

They were made with the code of the commit that adds them, on the trunk and the rows of make.py.

    PYTHONPATH=src:tests:tests/training python tests/saved/make_2.py
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from make import HERE, PARTS, PLACE, SMALL, TEXTS, config

FOLDER = HERE / "schema_2"
# By run: its method, and its tasks. Methods that schema 1 did not have yet, and one of each kind that it had.
RUNS = {
    "adalayers": ({"name": "adalayers", "alpha": 4, **SMALL}, ("mood", "cities", "topics", "stars")),
    "linear-path": ({"name": "adalayers", "linear": True, **SMALL}, ("mood",)),
    "scalar_mix": ({"name": "scalar_mix"}, ("cities",)),
    "variability": ({"name": "variability", **SMALL}, ("mood",)),
    "ladder": ({"name": "ladder", "reduction": 2}, ("mood",)),
    "routing": ({"name": "routing", "dim": 8, "vectors": 4}, ("mood",)),
    "lora": ({"name": "lora", "r": 2, "targets": "qv"}, ("mood",)),
}


def main() -> None:
    from trunkline.model.bundle import Bundle
    from trunkline.training.fit import fit

    work = Path(tempfile.mkdtemp())
    os.environ["TRUNKLINE_CACHE"] = str(work / "cache")
    shutil.copytree(HERE / "trunk", work / "trunk")
    shutil.copy(HERE / "rows.jsonl", work)
    answers = {}
    for run, (method, tasks) in RUNS.items():
        values = config(work / "trunk", work / "rows.jsonl", "adalayers")
        values |= {"method": method, "tasks": {name: dict(PARTS[name]) for name in tasks}}
        values["training"] |= {"states": "auto", "epochs": 4}
        fit(values, run_dir=work / run, progress=False)
        for branch in sorted((work / run).glob("branches/*")):
            shutil.copytree(branch, work / "schema_2" / run / branch.name)
            rows = Bundle.open(branch, device="cpu").predict(TEXTS, empty_texts="read")
            answers[f"{run}/{branch.name}"] = [row[branch.name] for row in rows]
    for file in (work / "schema_2").rglob("branch.json"):
        described = json.loads(file.read_text("utf-8"))
        described["trunk"]["name"] = PLACE + "/trunk"  # where it is looked for: no part of what the digests hold
        file.write_text(json.dumps(described, indent=1) + "\n", "utf-8")
    (work / "schema_2" / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(work / "schema_2", FOLDER)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
