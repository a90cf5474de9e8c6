"""Write the two files that the tutorials train on: 100 requests of each intent of the embedded SNIPS (CC0).

python website/requests.py
"""

from __future__ import annotations

import csv
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from trunkline.data.sources import read_table

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "tutorials"
OF_EACH = 100


def drawn() -> list[dict[str, Any]]:
    """The rows, in an order that says nothing about their intents; each text once."""
    table, of = read_table("snips").columns, defaultdict(dict)
    for text, label, spans in zip(table["text"], table["label"], table["spans"], strict=True):
        of[label].setdefault(text, {"text": text, "intent": label, "slots": spans})
    draw = random.Random(0)
    rows = [row for label in sorted(of) for row in draw.sample(list(of[label].values()), OF_EACH)]
    draw.shuffle(rows)
    return rows


def main() -> None:
    rows = drawn()
    with (FOLDER / "requests.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["text", "intent"])
        lines.writerows((row["text"], row["intent"]) for row in rows)
    with (FOLDER / "requests.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
