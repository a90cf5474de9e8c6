"""What a billion texts and a trillion tokens cost: prints the tables of docs/scale.md, from what is measured here and now.

    python benchmarks/scale_costs.py            # print them
    python benchmarks/scale_costs.py --write    # and put them into docs/scale.md

Measured, on the embedded trunk and in processor time: tokens a second of a live pass on one thread, tokens a second read from a
store that the system has in memory, and what a process takes until it can predict; counted: bytes of what is written for each
token, shard and piece. The rest is multiplication. Costs are those of one core of this machine; divide by cores, or by how many
times faster a GPU is.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
BEGIN, END = "<!-- of benchmarks/scale_costs.py -->", "<!-- end -->"
SIZES = {"a billion texts": 10**9, "a trillion tokens": 10**12}


def measured(rows: int) -> dict[str, float]:
    import numpy as np
    import torch

    from trunkline.data.sources import read_table
    from trunkline.inputs.batching import token_batches
    from trunkline.inputs.text import encode
    from trunkline.states.live import LiveStates
    from trunkline.states.manifest import bytes_per_token
    from trunkline.states.store import build_store
    from trunkline.trunk.load import load_trunk

    torch.set_num_threads(1)
    texts = list(islice(cycle(read_table("snips").columns["text"]), rows))
    trunk = load_trunk("minilm", dtype="fp32", device="cpu")
    encoded = encode(texts, trunk.tokenizer, max_length=128)
    tokens = int(np.asarray(encoded.lengths).sum())
    batches = token_batches(encoded.lengths, tokens=4096)

    def rate(feed: object) -> float:
        began = time.process_time()
        for batch in batches:
            feed.feed(batch, range(trunk.num_layers + 1), lambda layer, states: None)  # type: ignore[attr-defined]
        return tokens / (time.process_time() - began)

    with tempfile.TemporaryDirectory() as folder:
        store = build_store(trunk, encoded, Path(folder), dtype="bf16")
        store.verify()
        live, read = rate(LiveStates(trunk, encoded)), rate(store)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    needed = "trunkline.serving.ray.predictor, trunkline.model.bundle, transformers.models.bert.modeling_bert"
    subprocess.run([sys.executable, "-c", f"import {needed}"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "live": live,
        "read": read,
        "start": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "tokens a text": tokens / len(texts),
        "layers": trunk.num_layers + 1,
        "bytes": bytes_per_token(trunk.hidden_size, "bf16"),
    }


def noted() -> dict[str, float]:
    """Bytes that a manifest has for each shard of each layer, and a plan for each piece of 4,096 rows."""
    from trunkline.data.formats import Piece
    from trunkline.data.pieces import FilePiece
    from trunkline.states.manifest import LayerShard

    shard = json.dumps({"states": "0" * 64, "scales": None}, indent=2)
    assert LayerShard(states="0" * 64, scales=None)
    name = "texts/part-00000.parquet"
    piece = FilePiece(f"/shared/{name}", name, "parquet", Piece(10**8, 10**8 + 4096, 10**8))
    return {"shard": len(shard) + 30, "piece": len(json.dumps(piece.plain()))}


def tables(found: dict[str, float], each: dict[str, float], rows: int) -> str:
    from trunkline.serving.bulk import CHUNK
    from trunkline.serving.ray.partitions import MOST
    from trunkline.states.manifest import SHARD_BYTES

    lines = [
        f"Measured on {rows:,} texts of SNIPS with `minilm` in fp32 and one thread: {found['live']:,.0f} tokens a second live, "
        f"{found['read']:,.0f} read from a store in bf16 (all {found['layers']:.0f} layers),",
        f"{found['tokens a text']:.1f} tokens a text, {found['start']:.0f} s until a process has imported what it needs, "
        f"{found['bytes']:.0f} bytes a token and layer.",
        "",
        "| | " + " | ".join(SIZES) + " |",
        "|---" * (len(SIZES) + 1) + "|",
    ]
    columns = []
    for name, size in SIZES.items():
        tokens = size * found["tokens a text"] if name.endswith("texts") else size
        texts = tokens / found["tokens a text"]
        stored = tokens * found["bytes"] * found["layers"]
        shards = -(-tokens * found["bytes"] // SHARD_BYTES)
        once = 1 / found["live"] + 10 / found["read"]
        columns.append(
            {
                "texts": f"{texts:,.0f}",
                "tokens": f"{tokens:,.0f}",
                "core-hours of live passes": f"{tokens / found['live'] / 3600:,.0f}",
                "share of these that starting 1,000 workers takes": f"{1000 * found['start'] * found['live'] / tokens:.2%}",
                "TB of a store of all layers": f"{stored / 1e12:,.1f}",
                "of the last layer alone": f"{stored / found['layers'] / 1e12:,.1f}",
                "files of that store": f"{shards * found['layers']:,.0f}",
                "MB of its manifest": f"{shards * found['layers'] * each['shard'] / 1e6:,.1f}",
                "GB written for it, once a shard": f"{shards * shards * found['layers'] * each['shard'] / 2e9:,.1f}",
                "pieces of a prediction": f"{texts / CHUNK:,.0f}",
                "MB of its plan": f"{texts / CHUNK * each['piece'] / 1e6:,.1f}",
                "rows of each of its partitions": f"{-(-texts / CHUNK // MOST) * CHUNK:,.0f}",
                "core-hours of ten epochs, live": f"{10 * tokens / found['live'] / 3600:,.0f}",
                "core-hours of a pass, and ten epochs from a store": f"{tokens * once / 3600:,.0f}",
                "GB a second that ten cores read of it": f"{10 * found['read'] * found['bytes'] * found['layers'] / 1e9:,.2f}",
            }
        )
    lines += [f"| {row} | " + " | ".join(column[row] for column in columns) + " |" for row in columns[0]]
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=4_000, metavar="N", help="texts that are measured (4,000)")
    arguments.add_argument("--write", action="store_true", help="put the tables into docs/scale.md")
    options = arguments.parse_args()
    made = tables(measured(options.rows), noted(), options.rows)
    print(made)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page[: page.index(BEGIN) + len(BEGIN)], page[page.index(END) :]
        PAGE.write_text(f"{before}\n\n{made}\n\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
