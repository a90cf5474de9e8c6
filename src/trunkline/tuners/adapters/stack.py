"""Adapters put into a model: at each place a language adapter, if there is one, under a task adapter or a fusion of several.

A place changes h, the output of a sub-block, on its way to the residual connection; the model itself then does what follows
(its dropout comes before, its norm after). So what is computed is `norm(change(h) + r)`, as in the `adapters` package.
Stacking and what a fusion reads are those of Pfeiffer et al. 2020 (arXiv 2005.00247, 2005.00052).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from trunkline.branches.dropout import Dropout
from trunkline.errors import BadInput
from trunkline.trunk.architectures import Architecture, Taps
from trunkline.tuners.adapters.bottleneck import Bottleneck, Nice, Spec
from trunkline.tuners.adapters.fusing import FusionLayer, FusionSpec
from trunkline.tuners.adapters.places import PLACES, Spot, encoder_alone, find_spots


class Place(nn.Module):
    """The adapters of one place of one block; its hooks sit on the block's own modules.

    Args:
        spot: where it is.
        width: K.
        language, task: specs of the adapter below and of the one on top.
        fused: specs of the adapters that are fused, by name; the last one's wiring counts, as they are all wired alike.
        fusion: shape of the fusion over them.
        dropout: rate of the dropout that h passes first, where the block itself does it by a function.
    """

    def __init__(
        self,
        spot: Spot,
        width: int,
        *,
        language: Spec | None = None,
        task: Spec | None = None,
        fused: Mapping[str, Spec] | None = None,
        fusion: FusionSpec | None = None,
        dropout: float | None = None,
    ) -> None:
        super().__init__()

        def make(spec: Spec | None) -> Bottleneck | None:
            return Bottleneck(width, spec, spot.index) if spec and spec.at(spot.location, spot.index) else None

        self.site, self.numbers, self.index, self.location = spot.site, spot.numbers, spot.index, spot.location
        self.language, self.task = make(language), make(task)
        made = {name: adapter for name, spec in (fused or {}).items() if (adapter := make(spec)) is not None}
        self.fused = nn.ModuleDict(made) if made else None
        self.fusion = FusionLayer(width, fusion) if made and fusion else None
        self.dropout = None if dropout is None else Dropout(dropout)
        self._norm: list[nn.Module] = []  # in a list, so that it is no submodule
        self._held: dict[int, Tensor] = {}  # r between two hooks of one pass, and what takes the norm's place, by thread
        self._replaced: dict[int, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": {}, "_replaced": {}}  # what a copy must not share

    @property
    def empty(self) -> bool:
        return self.language is None and self.task is None and self.fused is None

    def adapters(self) -> dict[str, Bottleneck]:
        """Its adapters: "language", "task", and the fused ones by name with "fused." in front."""
        found = {"language": self.language, "task": self.task}
        found |= {f"fused.{name}": adapter for name, adapter in self._fused().items()}
        return {name: adapter for name, adapter in found.items() if adapter is not None}

    def _fused(self) -> dict[str, Bottleneck]:
        return dict(self.fused.items()) if self.fused is not None else {}  # type: ignore[arg-type]

    def attach(self, block: nn.Module) -> None:
        """Put the hooks onto the block."""
        # Bound methods, so that a copy of the model has hooks that belong to the copy.
        _to_stay(block, self.site.tail).register_forward_hook(self._after)
        if self.empty:
            return
        block.get_submodule(self.site.source).register_forward_pre_hook(self._hold, with_kwargs=True)
        if self.site.norm is not None:
            self._norm = [block.get_submodule(self.site.norm)]
            if not all(adapter.spec.original_ln_after for adapter in self.adapters().values()):
                self._norm[0].register_forward_hook(self._replace)

    def change(self, h: Tensor, r: Tensor) -> tuple[Tensor, bool]:
        """Return what becomes of h (B, T, K), given r, and whether `norm(. + r)` is still to follow."""
        out, last = h, None
        if self.language is not None:
            entry = self.language.enter(out, r, self._normed)
            out, last = self.language(entry.reads, entry.residual)[0], self.language
        if self.fusion is not None:
            fused = self._fused()
            last = list(fused.values())[-1]
            entry = last.enter(out, r, self._normed, self.fusion.spec.query_before_ln)
            ups = {name: adapter(entry.reads, entry.residual)[1] for name, adapter in fused.items()}
            out = self.fusion(entry.query, ups, entry.residual)
        elif self.task is not None:
            entry = self.task.enter(out, r, self._normed)
            out, last = self.task(entry.reads, entry.residual)[0], self.task
        if last is None:
            return h, True
        if last.spec.is_parallel:
            out = out + h
        return out.to(h.dtype), last.spec.original_ln_after

    def _normed(self, x: Tensor) -> Tensor:
        """The block's own norm, called without its hooks."""
        return self._norm[0].forward(x) if self._norm else x

    def _hold(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        i = self.site.argument
        self._held[threading.get_ident()] = args[i] if len(args) > i else kwargs["input_tensor" if i else "hidden_states"]

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        h = output[0] if isinstance(output, tuple) else output
        out = h if self.dropout is None else self.dropout(h)
        if not self.empty:
            out = self._changed(out, self._held.pop(threading.get_ident()))
        return (out, *output[1:]) if isinstance(output, tuple) else out

    def _changed(self, h: Tensor, r: Tensor) -> Tensor:
        """What must come out of the tail, so that the model, which adds r, gets what `change` asks for."""
        if self.site.swapped:
            changed, followed = self.change(r, h)
            wanted = changed + h if followed else changed
        else:
            changed, followed = self.change(h, r)
            if followed:
                return changed
            wanted = changed
        if not followed and self._norm:
            self._replaced[threading.get_ident()] = wanted
        return wanted - r

    def _replace(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return self._replaced.pop(threading.get_ident(), None)


def put_adapters(
    model: Any,
    architecture: Architecture,
    taps: Taps,
    *,
    language: Spec | None = None,
    task: Spec | None = None,
    fused: Mapping[str, Spec] | None = None,
    fusion: FusionSpec | None = None,
) -> list[Place]:
    """Put adapters into a bare model, in place; nothing that was there is written to.

    Each place becomes the submodule `attention_adapter`, `output_adapter` or `cross_adapter` of its block, with its adapters
    as `language`, `task` and `fused.<name>` and the fusion as `fusion`. An invertible adapter is `invertible_adapter` of the
    model.

    Returns:
        The places that have an adapter, from the first block to the last.

    Raises:
        BadInput: no adapter position of this model.
    """
    width, places = model.config.hidden_size, []
    rates: dict[int, float] = {}
    spots = find_spots(model, architecture, taps)
    specs = [spec for spec in (language, task, *(fused or {}).values()) if spec]
    touched = {s.index for s in spots if any(spec.at(s.location, s.index) for spec in specs)}
    for spot in spots:
        if spot.index not in touched:
            continue
        rate = None
        if spot.site.functional:  # done by the place, for all places of the block, as they share the rate
            rate = rates.setdefault(spot.index, spot.block.dropout)
            spot.block.dropout = 0.0
        place = Place(spot, width, language=language, task=task, fused=fused, fusion=fusion, dropout=rate)
        if place.empty and rate is None:
            continue
        spot.block.add_module(f"{spot.location}_adapter", place.train(model.training))
        place.attach(spot.block)
        if not place.empty:
            places.append(place)
    if not places:
        raise BadInput(f"no adapter position of this {architecture.model_type}; expected at least one block", key="method")
    # Of several, the `adapters` package uses the first one's invertible adapter: the one below.
    lowest = language or task or next(iter((fused or {}).values()))
    if lowest.inv_adapter is not None:
        _put_invertible(model, architecture, taps, lowest)
    return places


def _put_invertible(model: Any, architecture: Architecture, taps: Taps, spec: Spec) -> None:
    row = PLACES[architecture.model_type]
    width = getattr(model.config, "embedding_size", model.config.hidden_size)
    model.add_module("invertible_adapter", InvertiblePlace(width, spec).train(model.training))
    if row.embeddings is None:
        taps.first.register_forward_pre_hook(model.invertible_adapter.before)
        return
    path = row.embeddings.removeprefix("encoder.") if encoder_alone(model, architecture) else row.embeddings
    _to_stay(model, path).register_forward_hook(model.invertible_adapter.after)


def _to_stay(model: nn.Module, path: str) -> nn.Module:
    """The module at `path`, fit for hooks: a plain dropout would later be exchanged for ours and its hooks lost with it."""
    found = model.get_submodule(path)
    if type(found) is nn.Dropout:
        owner, _, name = path.rpartition(".")
        found = Dropout(found.p).train(found.training)
        setattr(model.get_submodule(owner), name, found)
    return found


class InvertiblePlace(Nice):
    """An invertible adapter with the hooks that put it behind the embeddings."""

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self(args[0]), *args[1:])

    def after(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return self(output)
