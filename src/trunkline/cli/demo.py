"""`trunkline demo`: two tasks on the embedded data, from training to predictions in one pass, with nothing to configure."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

from trunkline.cli.common import Debug, Fresh, Json, err, guarded, out, program, tell

CONFIG = Path(__file__).with_name("demo.yaml")
SENTENCES = (
    "add the new song by Nina Simone to my Sunday morning playlist",
    "book a table for four at an Italian restaurant in Boston tomorrow night",
    "will it snow in Oslo this weekend?",
    "play some jazz from 1959",
    "give the novel Dune five out of six stars",
)


@guarded
def demo(fresh: Fresh = False, as_json: Json = False, debug: Debug = False) -> dict[str, Any]:
    """Train intent and slots on the embedded SNIPS data, and predict both in one pass. About 2 minutes on a CPU.

    [bold]Example[/]

    \b
    trunkline demo
    """
    tell("Two tasks on one frozen transformer: the intent of a spoken command (7), and its slots (39). Data: SNIPS, CC0.")
    tell("loading libraries")
    from trunkline.cli.fit import train
    from trunkline.model.bundle import Bundle
    from trunkline.training.config import load_config

    summary = train(load_config(CONFIG), "demo", fresh=fresh)
    with err().status("predicting"):
        bundle = Bundle.open(summary["run"])
        bundle.predict(SENTENCES[:1])  # the first pass prepares what the others reuse
        began = time.perf_counter()
        predictions = bundle.predict(SENTENCES)
        seconds = time.perf_counter() - began
    if not as_json:
        _show(summary, predictions, seconds)
    return {**summary, "predictions": [{"text": t, **p} for t, p in zip(SENTENCES, predictions, strict=True)]}


def _show(summary: dict[str, Any], predictions: list[dict[str, Any]], seconds: float) -> None:
    from rich.text import Text

    from trunkline.cli import show
    from trunkline.cli.answers import show_answers
    from trunkline.cli.fit import show_scores

    console = out()
    show_scores(summary)
    console.print(show.cost(summary))
    console.print(
        Text(f"\n{len(SENTENCES)} sentences, both tasks, one pass of the trunk: {1000 * seconds:.0f} ms", style="bold")
    )
    brief = [{name: {k: v for k, v in part.items() if k != "scores"} for name, part in row.items()} for row in predictions]
    show_answers(console, SENTENCES, brief)
    typed, run = program(), shlex.quote(summary["run"])
    console.print(
        Text.assemble(
            ("\nContinue with your own file", "bold"),
            " (CSV, TSV, JSON lines, Parquet, CoNLL):\n",
            f"    {typed} fit reviews.csv     detects text and label columns, trains, prints a table\n",
            f"    {typed} init reviews.csv    writes the same as a config to edit\n",
            "or with what was trained now:\n",
            f'    {typed} predict {run} --text "..."\n',
            f"    {typed} info {run}/branches/intent",
        ),
        soft_wrap=True,
    )
