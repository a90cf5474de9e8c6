"""spaCy's binary training data (.spacy, a DocBin) through the spacy package: texts, entities or groups of spans, categories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trunkline.data.formats import Format, formats
from trunkline.data.formats.annotations.spacy import finish, labels_of
from trunkline.data.reading.notes import Notes
from trunkline.data.table import Table
from trunkline.errors import BadInput


def read(path: Path, source: str) -> Table:
    """Return a table with ``text`` and, as far as they are there ``spans`` and ``label`` or ``labels``."""
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError:
        raise BadInput(
            f"{source}: reading a DocBin needs spaCy: pip install 'trunkline[spacy]'; or export the texts as JSON lines"
        ) from None
    try:
        docs = list(DocBin().from_bytes(path.read_bytes()).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # zlib's, msgpack's and spaCy's own
        raise BadInput(
            f"{source}: not a DocBin that can be read ({type(error).__name__}), expected one that spaCy wrote"
        ) from None
    notes = Notes()
    rows = [_row(doc, notes) for doc in docs]
    finish(rows, notes)
    if not any(row["spans"] for row in rows):
        for row in rows:
            del row["spans"]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return Table(source, columns, findings=notes.sentences)


def _row(doc: Any, notes: Notes) -> dict[str, Any]:
    found = list(doc.ents)
    if not found:
        found = [span for group in doc.spans.values() for span in group]
    elif others := sum(len(group) for group in doc.spans.values()):
        notes.add("{} in groups left out, as the texts have entities.", "span", others)
    row: dict[str, Any] = {"text": doc.text}
    row["spans"] = [{"start": span.start_char, "end": span.end_char, "label": span.label_} for span in found]
    if doc.cats:
        row["labels"] = labels_of(dict(doc.cats))
    return row


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows; a DocBin is one compressed block, so it is read whole."""
    table = read(path, source)
    for start in range(0, len(table), size):
        yield table.select(range(start, min(start + size, len(table))))


formats.register("spacy")(Format((".spacy",), read, chunks, compressed=False))
