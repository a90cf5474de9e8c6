"""`trunkline evaluate`: score branches on a data set, by default on the test split that their own run set apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, below, err, guarded, out, tell
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from trunkline.data.corpus import Corpus
    from trunkline.data.table import Table
    from trunkline.model.bundle import Bundle
    from trunkline.tasks import Targets
    from trunkline.trunk import Trunk

TrunkName = Annotated[
    str | None, typer.Option("--trunk", metavar="NAME", help="Where the branches' trunk is found, if not where it was.")
]


@guarded
def evaluate(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_OR_BRANCH... [DATA]", help="Runs or branches; then data, if not their test split.", show_default=False
        ),
    ],
    trunk: TrunkName = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Score branches on a data set, label by label.

    A run stands for all of its branches. Without DATA, each is scored on the test split of its own run.

    [bold]Examples[/]

    \b
    trunkline evaluate runs/reviews-1a2b3c4d
    trunkline evaluate runs/reviews-1a2b3c4d/branches/stars newer.csv
    """
    from trunkline.model.folders import branch_folders

    branches, data = divide(places)
    results: dict[str, Any] = {}
    heading = data
    if data is not None:
        from trunkline.data.sources import read_table

        table = read_table(data)
        results = _score(_open(branches, trunk), table)
    else:
        loaded: Trunk | str | None = trunk
        runs = _by_run(branches)
        heading = f"the test split of {' and that of '.join(map(below, runs))}"
        for run, members in runs.items():
            splits = own_test_splits(run, [task_of(folder) for member in members for folder in branch_folders(member)])
            bundle = _open(members, loaded)
            loaded = loaded or bundle.trunk
            prefix = f"{run}/" if len(runs) > 1 else ""
            found: dict[str, Any] = {}
            for tasks, test in splits:
                own = subset(bundle, [name for name, branch in bundle.branches.items() if branch.task.name in tasks])
                if test is None:
                    for name in tasks:
                        tell(f"{name} is not scored: the config sets no test split apart for it")
                else:
                    found |= _score(own, test)
            results |= {f"{prefix}{name}": found[name] for name in bundle.branches if name in found}
    if not as_json:
        _show(results, f"Scores on {heading}")
    return {"tasks": results}


def divide(places: list[str]) -> tuple[list[Path], str | None]:
    """Tell branches and runs from the data that may come last."""
    flags = [is_branch_or_run(Path(place)) for place in places]
    if all(flags):
        return [Path(place) for place in places], None
    first = flags.index(False)
    if first == 0 or first < len(places) - 1:
        raise BadInput(f"{places[first]}: not a run or a branch; expected a directory that `trunkline fit` has written")
    return [Path(place) for place in places[:-1]], places[-1]


def is_branch_or_run(path: Path) -> bool:
    """Whether a directory is a branch, or a run with branches in it."""
    return (path / "branch.json").is_file() or (path / "branches").is_dir() or (path / "config.yaml").is_file()


def own_test_splits(run: Path, tasks: Collection[str]) -> list[tuple[list[str], Table | None]]:
    """The rows of the test splits that a run's config names or draws for these tasks, and which of them have each.

    Tasks without a test split come with None.
    """
    from trunkline.training.config import load_config
    from trunkline.training.prepare import prepare, split_digest
    from trunkline.training.result import read_result

    if not (run / "config.yaml").is_file():
        raise BadInput(f"{run}: no config.yaml, so this branch's own test split is not known; give the data to score on")
    result, config = read_result(run), load_config(run / "config.yaml")
    if unknown := [name for name in tasks if name not in config.tasks]:
        raise BadInput(f"{run}: its config has no task {unknown[0]}, so its test split is not known; give the data to score on")
    found: list[tuple[list[str], Table | None]] = []
    for group in prepare(config, only=tasks):
        several = f"{group.name}/train" in result["rows"]
        trained = {name: f"{group.name}/{name}" if several else name for name in group.splits}
        counts = (
            sum(len(split.corpus) for split in group.splits.values()),
            sum(result["rows"].get(name, 0) for name in trained.values()),
        )
        now = {trained[name]: split_digest(split) for name, split in group.splits.items()}
        digests = {name: result.get("digests", now).get(name) for name in now}
        # A share drawn from other rows, or in another order, would hold rows that were trained on.
        if counts[0] != counts[1] or now != digests:
            changed = (
                f"{counts[0]} rows, {counts[1]} when it was trained"
                if counts[0] != counts[1]
                else "other rows or another order"
            )
            raise BadInput(f"{run}: its data has changed ({changed}); give the data to score on")
        test = group.splits.get("test")
        found.append(([name for name in group.tasks if name in tasks], None if test is None else test.corpus.table))
    if all(table is None for _, table in found):
        raise BadInput(f"{run}: its config sets no test split apart; give the data to score on")
    return found


def task_of(branch: Path) -> str:
    """The name of a branch's task, without loading the branch."""
    from trunkline.files import read_object

    return str(read_object(branch / "branch.json").get("name"))


def _by_run(branches: Iterable[Path]) -> dict[Path, list[Path]]:
    """Branch and run directories by the run that they belong to."""
    runs: dict[Path, list[Path]] = {}
    for path in branches:
        place = path.resolve()
        runs.setdefault(place.parent.parent if (place / "branch.json").is_file() else place, []).append(path)
    return runs


def _open(paths: list[Path], trunk: Trunk | str | None) -> Bundle:
    from trunkline.model.bundle import Bundle

    with err().status("loading the trunk"):
        return Bundle.open(paths, trunk=trunk)


def _score(bundle: Bundle, table: Table) -> dict[str, Any]:
    """Metrics of every branch on `table`."""
    from trunkline.cli.progress import counting

    results: dict[str, Any] = {}
    for corpus, targets in _answers(bundle, table):
        names = list(targets)
        for sentence in (said for name in names for said in bundle.branches[name].task.findings(corpus)):
            tell(f"{table.source}: {sentence}")
        with counting(err(), "scoring", len(corpus)) as count:
            found = subset(bundle, names).score(corpus, targets, progress=count)
        for name, metrics in found.items():
            task = bundle.branches[name].task
            rows = task.answers.scored(targets[name], corpus)
            results[name] = {"kind": task.kind, "monitor": task.monitor, "data": table.source, "rows": rows, "metrics": metrics}
    return {name: results[name] for name in bundle.branches}


def _answers(bundle: Bundle, table: Table) -> list[tuple[Corpus, dict[str, Targets]]]:
    """The table as each branch sees it, together those that share a pass, with what is right there for each.

    Raises:
        BadInput: the table is not what some branch reads; where others read it, it names them.
    """
    read, refused = [], []
    for view, names in views(bundle, table).items():
        try:
            corpus = corpus_for(bundle, names, table, view)
        except BadInput as error:
            refused.append(error)
            continue
        targets: dict[str, Targets] = {}
        for name in names:
            try:
                targets[name] = bundle.branches[name].task.targets(corpus)
            except BadInput as error:
                refused.append(error)
        read.append((corpus, targets))
    if refused and (fit := [str(bundle.branches[name].path) for _, targets in read for name in targets]):
        raise BadInput(f"{refused[0]}; {table.source} can score {' '.join(fit)}: name what is to be scored") from None
    if refused:
        raise refused[0]
    return read


View = tuple[str | None, str | None, str | None]  # columns of the text, of the second text, of the tokens


def views(bundle: Bundle, table: Table, text: str | None = None) -> dict[View, list[str]]:
    """The columns that each branch reads of `table`, and the branches that read the same ones and so share a pass.

    A branch that does not mind how a text is divided into words takes the words of one that does.
    """
    wanted = {name: getattr(branch.task.config, "tokens", None) for name, branch in bundle.branches.items()}
    given = {tokens for tokens in wanted.values() if tokens in table.columns}
    found: dict[View, list[str]] = {}
    for name, branch in bundle.branches.items():
        tokens = next(iter(given)) if len(given) == 1 else wanted[name] if wanted[name] in given else None
        column = text or branch.text
        found.setdefault((column if column in table.columns or not tokens else None, branch.text_pair, tokens), []).append(name)
    return found


def corpus_for(bundle: Bundle, names: list[str], table: Table, view: View) -> Corpus:
    """See a table as the branches `names` do."""
    from trunkline.data.corpus import build_corpus

    text, pair, tokens = view
    units = any(bundle.branches[name].task.answers.units for name in names)
    return build_corpus(table, text=text, text_pair=pair, tokens=tokens, units=units)


def subset(bundle: Bundle, names: list[str]) -> Bundle:
    """The bundle with these branches only."""
    from trunkline.model.bundle import Bundle

    return Bundle(bundle.trunk, {name: bundle.branches[name] for name in names})


def _show(results: dict[str, Any], heading: str) -> None:
    """Print the metrics of each branch, and its table by label."""
    from rich.text import Text

    from trunkline.cli import show

    console = out()
    console.print(Text(heading, style="bold"), soft_wrap=True)
    made = show.table("branch", "metric", ">score")
    for name, found in results.items():
        shown = show.headline(found["metrics"], found["monitor"])
        for row, (metric, value) in enumerate(shown.items()):
            made.add_row(name if row == 0 else "", metric, show.number(value), end_section=row == len(shown) - 1)
    console.print(made)
    for name, found in results.items():
        if by_label := show.by_label(found["metrics"], f"{name} by label"):
            console.print(by_label)
    for source, rows in {(found["data"], found["rows"]): None for found in results.values()}:
        tell(f"scored on {rows:,} rows of {source}")
