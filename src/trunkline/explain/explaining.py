"""`explain`: what a branch has learned, as a page with pictures and a CSV file for each of them.

from trunkline.explain import explain
explain("runs/emotion-1a2b3c4d", "page", single_layers=True)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trunkline.data.memory import table_of
from trunkline.data.sources import read_table
from trunkline.data.table import Table
from trunkline.errors import BadInput, listed
from trunkline.events import Publisher, Subscriber
from trunkline.explain.rows import Rows, judged
from trunkline.explain.sections import SECTIONS
from trunkline.explain.subject import Subject
from trunkline.files import atomic_directory, write_json
from trunkline.model.branch import Branch
from trunkline.model.bundle import Bundle
from trunkline.model.columns import label_names
from trunkline.model.folders import branch_folders, is_branch_or_run, no_branch, task_of
from trunkline.model.table_scores import answering, answers_in, findings_of, findings_of_scores, named_rows
from trunkline.pages.folder import PAGE, Page, folder_to_write
from trunkline.pages.page import index_page
from trunkline.pages.section import Section
from trunkline.tasks.labels import Reading
from trunkline.tasks.remarks import baseline_scores
from trunkline.training.own_test import own_test_splits
from trunkline.training.result import read_result, run_of_branch
from trunkline.trunk.load import Trunk

SCHEMA, RECORD = 1, "explain.json"
WAY = "give the data with --data (data= in Python)"

Counting = Callable[[int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Explained:
    """What was written.

    Attributes:
        page: the HTML file to open.
        branches: by name of the branch its `page`, the titles of its `sections`, and why others are `left_out`, by title.
        findings: what was noticed, a sentence each.
        files: all files that were written, but for the record of them.
    """

    page: Path
    branches: dict[str, dict[str, Any]]
    findings: list[str]
    files: list[Path]


def explain(
    branch: Any,
    out: str | Path,
    *,
    data: Any = None,
    texts: Sequence[str] | None = None,
    single_layers: bool = False,
    label_errors: bool = False,
    seed: int = 0,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    labels: Iterable[str] = (),
    trunk: str | Trunk | None = None,
    device: str = "auto",
    say: Callable[[str], None] = lambda sentence: None,
    count: Counting = lambda texts: nullcontext(lambda more: None),
    loading: Callable[[], AbstractContextManager[Any]] = nullcontext,
    subscribers: Iterable[Subscriber] = (),
) -> Explained:
    """Write a page about a branch: scores, layers, errors, texts; every picture with a CSV file of its numbers.

    Args:
        branch: its directory, or that of a run, which stands for all of its branches: each gets a page, and a page leads to
            them. What `fit` returned stands for its run.
        out: the directory to write: new, empty, or written by `explain` before, which is replaced.
        data: labelled rows: what `trunkline evaluate` reads, or data in memory, such as a data frame; by default the test
            split of the branch's run.
        texts: to be shown token by token; by default some of the rows are drawn.
        single_layers: train a branch for every single layer of the trunk, on the data of the run.
        label_errors: train branches that doubt the labels of the run's training rows.
        seed: of all that is drawn.
        format: of `data`, where its suffix does not say it.
        columns: of `data`, by role, where they are not called as in training (`renamed_columns`).
        labels: `GIVEN=TRAINED`, labels of `data` that mean another label of a branch.
        trunk: where the trunk of the branch is, or the trunk itself.
        device: "auto", "cpu" or "cuda".
        say: told, in a sentence, what is noticed.
        count: opened for each pass with the number of its texts; what it gives is called with the sequences done.
        loading: opened while branches are loaded.
        subscribers: told of what happens while branches are trained (trunkline.events).

    Raises:
        BadInput: no branch; data that it cannot read, or none that are known; a directory that holds other files.
    """
    target, path = folder_to_write(Path(out), "trunkline explain", RECORD), _place(branch)
    if texts is not None:
        _check_given(texts)
    findings: list[str] = []

    def noticed(sentence: str) -> None:
        findings.append(sentence)
        say(sentence)

    folders = branch_folders(path)
    tables = list(_tables(path, folders, data, format, noticed))  # what is wrong with them is found before the trunk is loaded
    with loading(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # `noticed` is told instead
        bundle = Bundle.open([path], trunk=trunk, device=device)
    for sentence in bundle.findings:
        noticed(sentence)
    _check_texts(bundle, texts)
    train = {"single_layers": single_layers, "label_errors": label_errors}
    publish, split = Publisher(subscribers), "test" if data is None else "data"
    found: dict[str, Rows] = {}
    for names, table, noted in tables:
        own = bundle.only([name for name, one in bundle.branches.items() if one.task.name in names])
        found |= _judged(own, table, noted, columns, labels, data is not None, noticed, count)
    pages: dict[str, Page] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # which names characters of texts, where no font has them
        for name in (name for name in bundle.branches if name in found):
            subject = _subject(bundle.only(name), name, found[name], split, seed, texts, train, noticed, publish)
            pages[name] = _page(subject)
        return _write(target, path, pages, bundle, findings)


def _place(branch: Any) -> Path:
    """The directory that is named; BadInput unless it is that of a branch or of a run."""
    given = getattr(branch, "path", branch)
    if not isinstance(given, str | Path):
        raise BadInput(
            f"branch: found {type(given).__name__}, expected the folder of a branch or of a run, or what fit returned"
        )
    path = Path(given)
    if not is_branch_or_run(path):
        raise no_branch(path)
    return path


def _tables(
    path: Path, folders: Sequence[Path], data: Any, form: str | None, say: Callable[[str], None]
) -> Iterator[tuple[list[str], Table, dict[str, Any]]]:
    """The rows to judge on, with the tasks that are judged on them, and scores of baselines that are known, by task."""
    tasks = [task_of(folder) for folder in folders]
    if data is not None:
        named = isinstance(data, str | Path)
        yield tasks, read_table(str(data), format=form) if named else table_of(data, "data"), {}
        return
    place = folders[0].resolve()
    if place.parent.name != "branches":
        raise BadInput(f"{path}: does not lie in its run, so the test split of this branch is unknown; {WAY}")
    run = place.parent.parent
    for own, test, unchanged in own_test_splits(run, tasks, say, WAY):
        names = [name for name in own if name in tasks]
        if test is None:
            say(f"{listed(names, whole=True)}: not explained, as the config defines no test split; {WAY}")
        elif names:
            noted = {name: task.get("baseline", {}).get("test") for name, task in read_result(run)["tasks"].items()}
            # What its reader changes was said in training.
            yield (names, replace(test, findings=()), noted) if unchanged else (names, test, {})


def _check_given(texts: Sequence[str]) -> None:
    option = "--text (texts= in Python)"
    if isinstance(texts, str) or not texts:
        raise BadInput(f"{option}: found {'one string' if texts else 'no text'}, expected a list of texts to show")
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or not text.strip():
            found = "a blank text" if isinstance(text, str) else type(text).__name__
            which = f", the {number}. of {len(texts)}" if len(texts) > 1 else ""
            raise BadInput(f"{option}: found {found}{which}; expected texts to show")


def _check_texts(bundle: Bundle, texts: Sequence[str] | None) -> None:
    pairs = [name for name, branch in bundle.branches.items() if branch.text_pair is not None]
    if texts is not None and pairs:
        raise BadInput(
            f"--text: found one for branch {pairs[0]!r}, which reads pairs of texts; expected none, as pairs of the data "
            "are drawn"
        )


def _judged(
    bundle: Bundle,
    table: Table,
    noted: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, str] | None,
    labels: Iterable[str],
    given: bool,
    say: Callable[[str], None],
    count: Counting,
) -> dict[str, Rows]:
    """What the branches of a bundle answer to the rows of a table; of what is noticed of these, what `score_table` says."""
    found: dict[str, Rows] = {}
    reading = Reading(True, label_names(labels, bundle.branches))
    bundle, seen = answering(bundle, table, say, columns, given)
    for corpus, targets, said in answers_in(bundle, seen, reading, "skip"):
        for sentence in [*said, *findings_of(bundle, table, seen, corpus, targets, given)]:
            say(f"{named_rows(table, given)}: {sentence}")
        with count(len(corpus)) as progress:
            judgements = judged(bundle, table.source, corpus, targets, progress)
        for name, rows in judgements.items():
            task = bundle.branches[name].task
            least = noted.get(task.name) or baseline_scores(task, corpus, targets[name])
            for sentence in findings_of_scores(bundle, name, table, seen, corpus, targets[name], rows.metrics, least, given):
                say(sentence)
        found |= judgements
    return found


def _subject(
    bundle: Bundle,
    name: str,
    rows: Rows,
    split: str,
    seed: int,
    texts: Sequence[str] | None,
    train: Mapping[str, bool],
    say: Callable[[str], None],
    publish: Subscriber,
) -> Subject:
    branch = bundle.branches[name]
    assert branch.path is not None
    place = branch.path.resolve()
    run = place.parent.parent if place.parent.name == "branches" and (place.parents[1] / "config.yaml").is_file() else None
    summary = None if run is None else run_of_branch(place)
    given = None if texts is None else tuple(texts)
    return Subject(bundle, name, rows, split, run, summary, seed, given, say=say, publish=publish, **train)


def _page(subject: Subject) -> Page:
    sections: list[Section] = [make(subject) for make in SECTIONS]
    return Page(f"{subject.name}: what the branch has learned", _facts(subject), sections)


def _facts(subject: Subject) -> list[tuple[str, str]]:
    branch, task, layers = subject.branch, subject.task, subject.branch.trunk.num_layers
    labels = (
        "" if task.named_labels is None else f", {len(task.own_labels)} {'entity types' if task.answers.units else 'labels'}"
    )
    return [
        ("task", f"{task.name} ({task.kind}{labels})"),
        ("method", branch.method.name),
        ("trunk", f"{branch.trunk.name}, {layers} layers"),
        ("reads", "layers " + ", ".join(map(str, branch.module.wanted()))),
        ("rows", f"test split of {subject.rows.source}" if subject.split == "test" else subject.rows.source),
        ("branch", str(branch.path)),
    ]


def _write(target: Path, path: Path, pages: Mapping[str, Page], bundle: Bundle, findings: list[str]) -> Explained:
    """Write all pages and a record of their files, whole or not at all."""
    folders = _folders(pages, bundle.branches)
    written: dict[str, bytes] = {}
    branches: dict[str, dict[str, Any]] = {}
    for name, page in pages.items():
        written |= {folders[name] + file: content for file, content in page.files().items()}
        branches[name] = {
            "page": folders[name] + PAGE,
            "sections": [section.title for section in page.sections if not section.left_out],
            "left_out": {section.title: section.note for section in page.sections if section.left_out},
        }
    if len(pages) > 1:
        rows = [(name, folders[name] + PAGE, page.facts[0][1]) for name, page in pages.items()]
        written[PAGE] = index_page(path.resolve().name, rows).encode("utf-8")
    with atomic_directory(target) as folder:
        for file, content in written.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        record = {"schema": SCHEMA, "branch": str(path), "branches": branches, "findings": findings, "files": sorted(written)}
        write_json(folder / RECORD, record)
    shown = {name: {**one, "page": str(target / one["page"])} for name, one in branches.items()}
    return Explained(target / PAGE, shown, findings, [target / file for file in sorted(written)])


def _folders(pages: Mapping[str, Page], branches: Mapping[str, Branch]) -> dict[str, str]:
    """Where the page of each branch lies below the directory: in it, or of several each in a folder of its own."""
    if len(pages) == 1:
        return dict.fromkeys(pages, "")
    return {name: f"{path.name}/" for name in pages if (path := branches[name].path) is not None}
