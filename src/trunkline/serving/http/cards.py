"""What a client may know about the tasks that are served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trunkline.model.branch import Branch
from trunkline.model.bundle import Bundle
from trunkline.model.plan import Plan, PlannedPass
from trunkline.trunk.aliases import ALIASES
from trunkline.trunk.load import Trunk
from trunkline.trunk.source import public_name

LABELS = 100  # that a card lists
LONGER = {"mean": " (longer ones in windows, by their mean)", "max": " (longer ones in windows, by their maximum)"}


class Catalogue:
    """Facts about branches, each made once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[PlannedPass, dict[str, Any]]] = {}

    def of_bundle(self, bundle: Bundle) -> dict[str, Any]:
        """The trunk and its branches, as `TasksAnswer` describes them."""
        trunk, plan = bundle.trunk, bundle.plan
        computed = {(one.trunk.backend, one.dtype) for one in plan.passes} or {(trunk.backend, trunk.dtype)}
        backend, dtype = computed.pop() if len(computed) == 1 else (None, None)
        for gone in [name for name in self._known if name not in plan.branches]:
            self._known.pop(gone, None)
        return {
            "trunk": {
                "name": trunk_name(trunk),
                "hidden_size": trunk.hidden_size,
                "layers": trunk.num_layers,
                "backend": backend,
                "dtype": dtype,
            },
            "tasks": [self.of_task(name, plan) for name in plan.branches],
        }

    def of_task(self, name: str, plan: Plan) -> dict[str, Any]:
        """A branch, as `TaskFacts` describes it."""
        planned, known = plan.pass_of(name), self._known.get(name)
        if known is None or known[0] is not planned:
            known = self._known[name] = planned, task_facts(name, planned)
        return known[1]


def trunk_name(trunk: Trunk) -> str:
    """What clients may know a trunk by: no path of this machine."""
    return trunk.name if trunk.name in ALIASES else public_name(trunk.name, trunk.revision)


def task_facts(name: str, planned: PlannedPass) -> dict[str, Any]:
    """A branch that answers from a pass, as `TaskFacts` describes it."""
    branch = planned.branches[name]
    modules: list[Any] = [branch.module, branch.criterion, branch.source]
    trained = {id(p): p.numel() for module in modules for p in module.parameters() if p.requires_grad}
    layers = {str(layer): share for layer, share in branch.layer_weights().items()}
    facts = {
        "name": name,
        "kind": branch.task.kind,
        "labels": branch.task.own_labels or None,
        "method": branch.method.name,
        "max_length": branch.max_length,
        "long_texts": branch.task.long_texts,
        "pairs": branch.text_pair is not None,
        "backend": planned.trunk.backend,
        "dtype": planned.dtype,
        "trainable_parameters": sum(trained.values()),
        "metrics": branch.metrics,
        "layers": layers or None,
    }
    return {**facts, "card": card(facts, branch)}


def card(facts: Mapping[str, Any], branch: Branch) -> str:
    """The model card of a branch, in Markdown."""
    reads = "pairs of texts" if facts["pairs"] else "texts"
    trunk = public_name(branch.trunk.name, branch.trunk.revision)
    lines = [
        f"# {facts['name']}",
        "",
        f"A {facts['kind']} task, trained with {facts['method']} on the trunk {trunk}. It reads {reads} of up to "
        f"{facts['max_length']} tokens{LONGER.get(facts['long_texts'], '')}, and has {facts['trainable_parameters']:,} "
        "parameters of its own.",
        "",
        f"The trunk is computed by {facts['backend']} in {facts['dtype']}, {_trained(facts, branch)}.",
    ]
    if labels := facts["labels"]:
        more = f", and {len(labels) - LABELS:,} more" if len(labels) > LABELS else ""
        lines += ["", "## Labels", "", ", ".join(f"`{label}`" for label in labels[:LABELS]) + more]
    if branch.decision is not None:
        fitted = {"rows of validation": branch.decision.rows, "temperature": branch.decision.temperature}
        lines += ["", "## Decision", "", *_table(fitted)]
    for title, values in (("Metrics", facts["metrics"]), ("Cost", branch.cost)):
        if values:
            lines += ["", f"## {title}", "", *_table(values)]
    return "\n".join(lines) + "\n"


def _trained(facts: Mapping[str, Any], branch: Branch) -> str:
    """Whether a branch was trained on what it answers from."""
    tuned = branch.source.trunk is not None
    trained = ("torch", branch.precision) if tuned else (branch.trunk.backend, branch.trunk.dtype)
    if trained == (facts["backend"], facts["dtype"]):
        return "as in training"
    return f"in training by {trained[0]} in {trained[1]}"


def _table(values: Mapping[str, Any]) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for key, value in _flat(values):
        yield f"| {key} | {value} |"


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Numbers by the path of their keys, without the tables by label, which are long."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            if key not in ("by_label", "confusion", "sample"):
                yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, int | float | str):
            yield f"{before}{key}", f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
