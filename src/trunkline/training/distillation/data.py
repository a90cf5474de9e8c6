"""The texts of a distillation: of every source its text column, put together; labels are not read."""

from __future__ import annotations

from trunkline.data.corpus import Corpus, View, build_corpus
from trunkline.data.empty import without_empty
from trunkline.data.splits import draw_validation
from trunkline.data.table import Table
from trunkline.training.distillation.config import DistillConfig
from trunkline.training.inputs import longer_than
from trunkline.training.prepare import Split
from trunkline.trunk.load import Trunk

TEXT = "text"  # the column of texts where the config names none
TOKENS = "tokens"  # the column of words that formats of tagged text have in its place


def read_texts(config: DistillConfig) -> tuple[dict[str, Split], list[str]]:
    """Return the splits `train` and `validation`, and what was noticed, a sentence each.

    Raises:
        BadInput: a source that cannot be read, has no such column, or no text.
    """
    data, findings = config.data, list(config.memory.findings)
    table, found = _together(config, data.train)
    findings += found
    if isinstance(data.validation, float):
        train, validation = draw_validation(table, data.validation, config.training.seed)
    else:
        train, (validation, found) = table, _together(config, data.validation)
        findings += found
    splits = {"train": train, "validation": validation}
    return {name: Split(name, build_corpus(one, text=TEXT), {}) for name, one in splits.items()}, findings


def _together(config: DistillConfig, given: str | list[str]) -> tuple[Table, list[str]]:
    """The texts of one or several sources as one table with a column `text`; sources may differ in format and columns."""
    texts: list[str] = []
    names: list[str] = []
    findings: list[str] = []
    for source in [given] if isinstance(given, str) else given:
        table = config.memory.read(source, format=config.data.format)
        findings += [f"{table.source}: {finding}" for finding in table.findings]
        text = config.data.text
        tagged = text == TEXT and text not in table.columns and TOKENS in table.columns  # of another name, it is mistyped
        view = View(None, None, TOKENS) if tagged else View(text, None, None)
        table, skipped = without_empty(table, config.data.empty_texts, view)
        findings += [] if skipped is None else [f"{table.source}: {skipped}"]
        texts += _corpus(table, view).texts
        names.append(table.source)
    return Table(" + ".join(names), {TEXT: texts}), findings


def _corpus(table: Table, view: View) -> Corpus:
    return build_corpus(table, text=view.text, tokens=view.tokens)


def encode_texts(splits: dict[str, Split], trunk: Trunk, max_length: int) -> list[str]:
    """Tokenise the splits; return what is to be said of texts that were cut."""
    findings = []
    for name, split in splits.items():
        split.encoded = encoded = trunk.encode(split.corpus.texts, max_length=max_length)
        if encoded.long_texts:
            findings.append(
                f"{name}: {encoded.long_texts:,} of {encoded.n_texts:,} {longer_than(trunk, max_length)} and were cut"
            )
    return findings
