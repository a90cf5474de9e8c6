"""What a worker holds, a bundle, and does, a partition at a time: it reads rows from the shared disk and writes them there.

Nothing of a user's file comes from or goes to other processes but the number of a partition and what was noticed in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.cluster import error_facts
from trunkline.data.chunks import Chunk, Chunks
from trunkline.data.pieces import FilePiece
from trunkline.data.writing import Chosen, writers
from trunkline.files import atomic_file, sha256_file
from trunkline.model.noticed import Noticed
from trunkline.serving.ray.partitions import Folder, read_plan


class Predictor:
    """Predicts partitions of the plan in a folder.

    Args:
        path: of the folder.
        threads: to compute with, as many as in one process that gives the same bits.
    """

    def __init__(self, path: str, threads: int) -> None:
        self._work: _Work | None = None
        self._error: dict[str, Any] | None = None
        try:
            self._work = _Work(Path(path), threads)
        except Exception as error:
            self._error = error_facts(error)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Predict the partition whose number is in `batch`; `found` is JSON of what was done, or of the error."""
        number = int(batch["partition"][0])
        found = self._error
        if self._work is not None:
            try:
                found = self._work.predict(number)
            except Exception as error:
                found = error_facts(error)
        return {"partition": [number], "found": [json.dumps(found)]}


class _Work:
    def __init__(self, path: Path, threads: int) -> None:
        import ray
        import torch

        from trunkline.model.bundle import Bundle
        from trunkline.model.columns import likely_texts
        from trunkline.serving.identity import identity_of
        from trunkline.serving.ready import Options, ready

        torch.set_num_threads(threads)
        self.node = ray.get_runtime_context().get_node_id()
        asked, self.partitions = read_plan(path)
        self.options = Options(**asked["options"])
        self.chosen = Chosen(writers.get(asked["format"]), gzipped=False)
        self.folder = Folder(path, self.chosen.form.suffixes[0])
        first = Chunk(self.partitions[0][0].read())
        opening = dict(asked["bundle"])
        if opening["allow_precision_change"]:
            opening["allow_precision_change"] = likely_texts(first.table, self.options.columns) or True
        self.bundle = Bundle.open(opening.pop("branches"), **opening)
        made = {**identity_of(self.bundle), "threads": threads}
        self.identity = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
        self.noticed, self.types = Noticed(), first.table.types
        [self.first] = ready(self.bundle, [first], self.options, self.noticed)

    def predict(self, number: int) -> dict[str, Any]:
        """Write a partition, unless it is there, and return what is to be said of it."""
        there = self.folder.record(number)
        if there is not None and there.get("identity") == self.identity:
            return {**there, "resumed": True}
        self.folder.begin(number)
        from trunkline.model.prepared import nothing
        from trunkline.model.rows import OutputNames, separators_of, writing
        from trunkline.model.tables import least_confidence
        from trunkline.serving.bulk import predict_rows

        said: list[str] = []
        noticed, form = self.noticed.later(), self.chosen.form
        names = OutputNames(form.flat, said.append)
        # Columns have the names that they have where the first rows come first.
        without = nothing(self.bundle, self.options.scores, least_confidence(self.bundle, self.options.min_confidence, noticed))
        names.renamed(self.first.rows([without] * sum(part.size for part in self.first.prepared), without, False, False))
        pieces = self.partitions[number]
        chunks = Chunks(lambda: _chunks(pieces), again=True)
        with atomic_file(self.folder.file(number)) as temporary, open(temporary, "wb") as file:
            with writing(file, self.chosen, names, self.types, separators_of(self.bundle.branches), errors=True) as write:
                done = predict_rows(self.bundle, chunks, write, self.options, noticed=noticed)
            file.flush()
            digest = sha256_file(temporary)
        found = {
            "identity": self.identity,
            "rows": done.rows,
            "sha256": digest,
            "noticed": noticed.facts(),
            "said": [*self.bundle.findings, *said],
            "branches": list(self.bundle.branches),
            "node": self.node,
        }
        self.folder.keep(number, found)
        return {**found, "resumed": False}


def _chunks(pieces: list[FilePiece]) -> Iterator[Chunk]:
    for piece in pieces:
        yield Chunk(piece.read())
