"""Trained adapters or a fusion with their plain head, written as the `adapters` package loads them.

That package's heads are linear layers on the first token (the last one of a decoder) or on every token. The plain head of
most trunks is one of these: BERT's pooler and classifier are two layers with a tanh between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.errors import BadInput, TrunklineError
from trunkline.export.base import place_of, targets
from trunkline.export.card import write_card
from trunkline.export.transformers import answers, check_plain, quoted, rescale, trunk_arguments
from trunkline.files import atomic_directory
from trunkline.inputs.batching import Layout
from trunkline.model.branch import Branch
from trunkline.trunk.load import Trunk
from trunkline.trunk.source import hub_place, public_name
from trunkline.tuners.adapter import Adapter
from trunkline.tuners.adapters.bottleneck import ACTIVATIONS
from trunkline.tuners.adapters.files import read_adapter, read_fusion
from trunkline.tuners.adapters.heads import Head, Kind, read_head, write_head
from trunkline.tuners.adapters.weights import LANGUAGE, Stored, StoredFusion
from trunkline.tuners.fusion import Fusion
from trunkline.tuners.plain import PlainHead
from trunkline.tuners.tuned import TunedTrunk

# By kind of task, what the package calls the head.
HEADS: dict[str, Kind] = {
    "sequence": "classification",
    "multilabel": "multilabel_classification",
    "regression": "classification",
    "token": "tagging",
}


def save_adapters(
    trunk: Trunk,
    tuned: TunedTrunk,
    head: PlainHead,
    labels: Sequence[str],
    folder: Path,
    *,
    name: str,
    kind: Kind,
    units: tuple[float, float] | None = None,
    title: str | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write a folder for `load_adapter`; of a fusion, one for each adapter and `fusion` for `load_adapter_fusion`.

    A language adapter below is in the folder `language`; the model card says how to stack them.

    Args:
        name: of the adapter there; dots, which that package does not support, become underscores.
        kind: of the head there.
        others: as those of `export.save_model`.

    Raises:
        BadInput: the method is neither adapter nor fusion, or that package has no such head.
        TrunklineError: what was written is read back differently.
    """
    tuner: Any = tuned.tuner
    if not isinstance(tuner, (Adapter, Fusion)):
        raise BadInput(f"method {tuner.config.name}: inserts no adapters into the trunk; expected adapter or fusion")
    check_plain(head)
    parts = parts_of(tuner, name)
    written = linear_head(head, kind, labels, trunk)
    if units is not None:
        rescale(*written.layers[-1], units)
    hub = hub_place(trunk.name, trunk.revision)
    known = hub[0] if hub else None  # a path says nothing elsewhere
    with atomic_directory(folder) as temporary:
        if isinstance(tuner, Fusion):
            tuner.export(str(temporary), model_name=known)
            top, by = "fusion", "load_adapter` and `load_adapter_fusion"
        else:
            top, by = "", "load_adapter"
            tuner.export(str(temporary), parts[top].name, model_name=known)
        place = temporary / top
        write_head(place, written, parts[top].name, tuner.home, model_name=known)
        code = loading(tuner, name, folder.name, *(hub or (public_name(trunk.name, None), None)))
        write_card(temporary, "adapters", by, head.output.level, trunk, title or folder.name, facts or {}, code)
        _check_read({temporary / inner: stored for inner, stored in parts.items()}, place, written, tuner, folder)


def parts_of(tuner: Adapter | Fusion, name: str) -> Mapping[str, Stored | StoredFusion]:
    """What is written, by folder within the one that is written; `name` as for `save_adapters`."""
    return tuner.parts() if isinstance(tuner, Fusion) else tuner.parts(name.replace(".", "_"))


def loading(tuner: Adapter | Fusion, name: str, folder: str, trunk: str, revision: str | None = None) -> list[str]:
    """Lines of Python that load what `save_adapters` has written, with the adapters package.

    Args:
        name: as for `save_adapters`.
        folder: where it is then.
        trunk, revision: the trunk's folder, or its name on the hub and its commit there.
    """
    parts, below = parts_of(tuner, name), LANGUAGE if tuner.language is not None else None
    fused = isinstance(tuner, Fusion)
    lines = [f"model = AutoAdapterModel.from_pretrained({trunk_arguments(trunk, revision)})"]
    for inner, stored in sorted(parts.items(), key=lambda part: part[0] != below):  # the lowest first
        call = "load_adapter_fusion" if isinstance(stored, StoredFusion) else "load_adapter"
        lines.append(f"model.{call}({quoted('/'.join(filter(None, [folder, inner])))}, use_safetensors=True)")
    lines[-1] = lines[-1][:-1] + ", set_active=True)"  # its head too, which a stack does not do over a fusion
    if below is None:
        return ["from adapters import AutoAdapterModel", *lines]
    names = [f'"{one.name}"' for inner, one in parts.items() if inner != below and not isinstance(one, StoredFusion)]
    top = f"Fuse({', '.join(names)})" if fused else names[0]
    imported = f"from adapters import AutoAdapterModel, {'Fuse, ' if fused else ''}Stack"
    return [imported, *lines, f'model.set_active_adapters(Stack("{parts[below].name}", {top}))']


@torch.no_grad()
def linear_head(head: PlainHead, kind: Kind, labels: Sequence[str], trunk: Trunk) -> Head:
    """The same head as linear layers; which token it reads and what stands between them is found by trying.

    Raises:
        BadInput: it is no such head: it has a norm, say.
    """
    pooler = head.current_pooler() if head.output.level == "text" else None
    modules = [*(pooler.modules() if pooler is not None else ()), *(head.model.modules() if head.model is not None else ())]
    linear = [module for module in modules if isinstance(module, nn.Linear)]
    layers: list[tuple[Tensor, Tensor | None]] = [
        (_plain(m.weight), None if m.bias is None else _plain(m.bias)) for m in linear
    ]
    width = head.trunk.hidden_size
    if layers and all(weight.shape == (width, width) for weight, _ in layers[:-1]):
        layout = Layout(torch.tensor([1, 4, 6]))
        # Wide enough that activations that are alike near zero are told apart.
        states = 3 * torch.randn(layout.total, width, generator=torch.Generator().manual_seed(0))
        expected = answers(head, states, layout)
        firsts, lasts = states[layout.starts], states[layout.starts + layout.lengths - 1]
        rows = (states,) if head.output.level == "unit" else (firsts, lasts)
        tries = [Head(kind, list(labels), layers, name) for name in (ACTIVATIONS if len(layers) > 1 else (None,))]
        errors = [float((each.logits(row) - expected).abs().max()) for each in tries for row in rows]
        best = min(range(len(errors)), key=errors.__getitem__)
        if errors[best] < (0.1 if any(p.dtype == torch.bfloat16 for m in linear for p in m.parameters()) else 1e-4):
            return tries[best // len(rows)]
    raise BadInput(
        f"export: the adapters package has no head like the plain one of {trunk.architecture}; "
        "expected linear layers on one token"
    )


def _plain(value: Tensor) -> Tensor:
    return value.detach().float().cpu().clone()


def _check_read(wanted: Mapping[Path, Stored | StoredFusion], place: Path, written: Head, tuner: Any, folder: Path) -> None:
    """TrunklineError unless all that was written is read back to the last bit."""
    same = True
    for path, stored in wanted.items():
        read: Any = read_fusion if isinstance(stored, StoredFusion) else read_adapter
        same &= _equal(read(path, tuner.home).weights, stored.weights)
    head = read_head(place)
    same &= head is not None and (head.kind, head.labels) == (written.kind, written.labels)
    same &= head is not None and _equal(_named(head), _named(written))
    if not same:
        raise TrunklineError(f"{folder}: the reloaded export differs; nothing was written")


def _named(head: Head) -> dict[str, Tensor]:
    return {f"{i}.{j}": part for i, layer in enumerate(head.layers) for j, part in enumerate(layer) if part is not None}


def _equal(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


@targets.register("adapters")
class AdaptersTarget:
    """A `Target` (base.py)."""

    @staticmethod
    def write(branch: Branch, folder: Path, **card: Any) -> None:
        tuned: Any = branch.source
        head: Any = branch.module
        task = branch.task
        save_adapters(tuned.trunk, tuned, head, task.labels, folder, name=task.name, kind=HEADS[task.kind], **card)

    @staticmethod
    def loading(branch: Branch, folder: str) -> list[str]:
        tuned: Any = branch.source
        return loading(tuned.tuner, branch.task.name, folder, *place_of(tuned.trunk))
