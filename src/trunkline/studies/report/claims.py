"""The tables of significance: of every pair of methods that was tested, in words which of them is better."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from trunkline.pages.section import Cell, Grid, Table
from trunkline.studies.report import numbers
from trunkline.studies.report.results import ClaimFacts, Results, Slice

MOST = 40  # claims that are told in words besides those about the best method; more are a table of signs
P_VALUES = {"p": "p, uncorrected", "p_holm": "p", "p_equivalence_holm": "p of equivalence"}  # those that are known
SIGNS = {"better": ">", "worse": "<", "equivalent": "=", "undecided": "?"}


def sentence(claim: ClaimFacts) -> str:
    """A claim in words."""
    if claim.verdict == "equivalent":
        return f"{claim.a} and {claim.b} are equivalent"
    if claim.verdict == "undecided":
        return f"{claim.a} against {claim.b} is undecided"
    return f"{claim.a} is {claim.verdict} than {claim.b}"


def claims(results: Results) -> list[Grid]:
    """A table for each task within each slice, and a table of signs where there are too many claims for sentences."""
    measures = ("difference", "low", "high", "p", "p_holm", "p_equivalence_holm", "test", "effect", "effect_name")
    columns = ("task", "trunk", "size", "regime", "a", "b", "verdict", *measures)
    rows = []
    for one in results.claims:
        difference = (one.difference, *(one.interval or (None, None)), one.p, one.p_holm, one.p_equivalence_holm)
        rows.append((one.task, *one.slice, one.a, one.b, one.verdict, *difference, one.test, one.effect, one.effect_name))
    whole = Table("significance", columns, rows, shown=0)
    grids = []
    for within in results.slices:
        for task in results.tasks:
            own = [claim for claim in results.claims if (claim.task, claim.slice) == (task, within)]
            if own:
                grids += _tables(results, within, task, own, whole)
    return grids


def verdicts(results: Results) -> list[str]:
    """What the four answers mean."""
    margin = f"{results.margin:g} points" if results.margin is not None else "the margin"
    return [
        "better, worse: the difference is significant, and may be more than the margin.",
        f"equivalent: the difference is less than {margin}, whichever of the two is ahead.",
        "undecided: neither is shown; more test rows or more seeds would decide.",
    ]


def _tables(results: Results, one: Slice, task: str, own: Sequence[ClaimFacts], whole: Table) -> list[Grid]:
    """The claims about the method that is best on validation, then the others."""
    called = ", ".join(part for part in (task if len(results.tasks) > 1 else "", results.called(one)) if part)
    title = f"{called}: " if called else ""
    leader = results.leader(task, one)
    about = [] if leader is None else list(results.claims_about(task, one, leader.method).values())
    others = [claim for claim in own if leader is None or leader.method not in (claim.a, claim.b)]
    made = []
    if about and leader is not None:
        made.append(_told(about, whole, f"{title}{leader.method}, the best on validation, against others"))
    if others:
        floors = {claim.b for claim in others}
        floor = next(iter(floors)) if len(floors) == 1 else ""
        against = f"the other methods against the floor {floor}" if floor and results.methods[floor].floor else "other pairs"
        made.append((_told if len(others) <= MOST else partial(_signs, results))(others, whole, f"{title}{against}"))
    return made


def _told(shown: Sequence[ClaimFacts], whole: Table, title: str) -> Grid:
    measures = list(dict.fromkeys(claim.effect_name for claim in shown if claim.effect_name))
    tests = list(dict.fromkeys(claim.test for claim in shown if claim.test))
    used = {key: heading for key, heading in P_VALUES.items() if any(getattr(claim, key) is not None for claim in shown)}
    rows = [
        [
            Cell(sentence(claim), strong=claim.verdict in ("better", "worse")),
            Cell(numbers.points(claim.difference), number=True, below=numbers.between(claim.interval, numbers.points)),
            *(Cell(numbers.probability(getattr(claim, key)), number=True) for key in used),
            *([Cell(numbers.points(claim.effect), number=True)] if measures else []),
        ]
        for claim in shown
    ]
    columns = ["claim", "difference", *used.values(), *([", ".join(measures)] if measures else [])]
    said = [
        "Differences in points, hundredths of the metric (of mse and mae in its own unit), with their intervals of 95 %.",
        "p is of no difference, p of equivalence of one beyond the margin; both are corrected over all claims (Holm).",
    ]
    return Grid(columns, rows, whole, title, [*said, *([f"Test: {', '.join(tests)}."] if tests else [])])


def _signs(results: Results, own: Sequence[ClaimFacts], whole: Table, title: str) -> Grid:
    """A row and a column for each method; columns have the number of the method's row."""
    used = {name for claim in own for name in (claim.a, claim.b)}
    methods = [name for name in results.methods if name in used]
    known = {(turned.a, turned.b): turned.verdict for claim in own for turned in (claim.about(claim.a), claim.about(claim.b))}
    rows = [
        [Cell(f"{number} {name}"), *(Cell(SIGNS[known[name, other]] if (name, other) in known else "") for other in methods)]
        for number, name in enumerate(methods, 1)
    ]
    said = "> the method of the row is better than that of the column; < worse; = equivalent; ? undecided."
    return Grid(["method", *map(str, range(1, len(methods) + 1))], rows, whole, title, [said])
