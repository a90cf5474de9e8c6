"""Branches loaded from their folders, the trunk that they name, and what else they are to be answered from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from trunkline.data.memory import is_table_like
from trunkline.errors import BadInput, TrunklineError, listed
from trunkline.model.branch import Branch, load_branch
from trunkline.model.compiling import compiled_copy
from trunkline.model.folders import branch_folders
from trunkline.model.plan import Plan, named
from trunkline.model.precision import Computing, Sample, agreements, described
from trunkline.model.trunk_ref import TrunkRef
from trunkline.trunk.backends import Ranges, backends, find_backend, installed
from trunkline.trunk.load import Trunk
from trunkline.trunk.shared import shared_trunk
from trunkline.tuners.tuned import TunedTrunk


@dataclass(frozen=True)
class Opened:
    """What a bundle is made of.

    Attributes:
        trunk: the one that all branches belong to.
        branches: by name.
        moved: by name of a branch, the trunk that it reads instead of the one that it was trained on.
        findings: sentences on these.
    """

    trunk: Trunk
    branches: dict[str, Branch]
    moved: dict[str, Trunk] = field(default_factory=dict)
    findings: tuple[str, ...] = ()


def open_branches(paths: Any, trunk: str | Trunk | None, device: str, computing: Computing | None = None) -> Opened:
    """Load branches and what they are answered from.

    Args:
        paths: branch directories, or run directories with all their branches; one, several or a mapping of names to these. What
            has such a directory as its `path`, as what `fit` returns, stands for it.
        trunk: another place where the same trunk is found, or a trunk already loaded.
        device: "auto", "cpu" or "cuda".
        computing: the backend and precision that are asked for; by default those that the first branch was trained on, or torch
            where that backend is not installed and another gives the same states.

    Raises:
        BadInput: no branch, one given twice, a trunk that is not there, or a precision that was not allowed.
    """
    computing = computing or Computing()
    computing.check()
    given = _places(paths)
    loaded: list[Branch] = []
    source = trunk
    for folder in (folder for path in given for folder in branch_folders(path)):
        loaded.append(branch := load_branch(folder, source, device=device))
        if branch.source.trunk is not None:
            source = branch.source.trunk  # the next one that changes it need not load it again
        if twin := next((other for other in loaded[:-1] if branch.source.equals(other.source)), None):
            branch.share(twin)
    if not loaded:
        raise BadInput("no branch given; expected at least one branch or run directory")
    branches = named(loaded)
    return _Opening(branches, trunk, source, device, computing).opened()


def one_branch(given: Any, trunk: Trunk) -> Branch:
    """Load the only branch that `given` names, for a bundle on `trunk`. BadInput for none or several."""
    folders = [folder for path in _places(given) for folder in branch_folders(path)]
    if len(folders) != 1:
        names = listed([folder.name for folder in folders], 8, whole=True) or "none"
        raise BadInput(
            f"branch: found {len(folders)} branches ({names}), expected one; a path such as run.branches[NAME] is one"
        )
    return load_branch(folders[0], trunk)


def _places(given: Any) -> list[Path]:
    """The directories that a program names."""
    if isinstance(given, str | PathLike) or hasattr(given, "path"):
        given = [given]
    elif isinstance(given, Mapping):
        given = given.values()
    try:
        if is_table_like(given):  # its columns are no paths
            raise TypeError
        return [Path(getattr(one, "path", one)) for one in given]
    except TypeError:
        found = type(given).__name__
        raise BadInput(
            f"found {found}, expected the folder of a branch or of a run, what fit returned, or a list of these"
        ) from None


class _Opening:
    """One call of `open_branches`, once branches are loaded."""

    def __init__(
        self,
        branches: dict[str, Branch],
        trunk: str | Trunk | None,
        source: str | Trunk | None,
        device: str,
        computing: Computing,
    ) -> None:
        self.branches, self.given, self.source, self.device, self.computing = branches, trunk, source, device, computing
        self.reading = {name: branch for name, branch in branches.items() if branch.source.trunk is None}
        self.moved: dict[str, Trunk] = {}
        self.findings: list[str] = []
        self._sample: Sample | None = None

    def opened(self) -> Opened:
        computing, trunk = self.computing, self.given
        changed = {n: b for n, b in self.reading.items() if computing.dtype_for(b.trunk.dtype) != b.trunk.dtype}
        if computing.dtype is None:  # then the first decides for the trunk, and each of the others is as it was trained
            first = next(iter(self.reading), None)
            changed = {name: branch for name, branch in changed.items() if name == first or first in changed}
        if changed and not computing.permitted:
            branch = next(iter(changed.values()))
            raise computing.refusal(branch, branch.trunk.dtype)
        if changed:
            trunk = self._changed(changed)
        if len(changed) < len(self.reading):
            trunk = self._trunk(next(branch.trunk for name, branch in self.reading.items() if name not in changed))
        elif not self.reading and isinstance(self.source, Trunk):
            trunk = self.source
        assert isinstance(trunk, Trunk)
        if computing.compiler is not None or computing.dtype is not None:
            self._tuned()
        return Opened(trunk, self.branches, self.moved, tuple(self.findings))

    @property
    def sample(self) -> Sample:
        if self._sample is None:
            self._sample = Sample.of(self.computing.allowed)
        return self._sample

    def _trunk(self, ref: TrunkRef) -> Trunk:
        """The trunk as a branch was trained on it, in the backend that is asked for."""
        if isinstance(self.given, Trunk):
            return self.given
        backend = self.computing.backend
        if backend not in (None, "torch") and ref.dtype not in (has := backends.get(backend, key="backend").precisions):
            raise BadInput(
                f"{self._place(ref)} was trained on states in {ref.dtype}, which backend {backend} does not have "
                f"(it has {', '.join(has)}); train with trunk.dtype: fp32, name another backend, or let it answer from another "
                "precision with --allow-precision-change (allow_precision_change=True)"
            )
        return self._load(ref, ref.dtype, backend or own_backend(ref), ref.ranges)

    def _load(self, ref: TrunkRef, dtype: str, backend: str, ranges: Ranges | None) -> Trunk:
        given = self.given.folder if isinstance(self.given, Trunk) else self.given
        try:
            return shared_trunk(
                given or ref.name,
                revision=None if given else ref.revision,
                stack=ref.stack,
                dtype=dtype,
                device=self.device,
                backend=backend,
                ranges=ranges,
            )
        except TrunklineError as error:
            if given is not None:
                raise
            if error.key == "device":
                raise
            said = f"{self._place(ref)} needs its trunk: {error}; --trunk (trunk=) gives its current location"
            raise type(error)(said) from None

    def _place(self, ref: TrunkRef) -> Path | None:
        return next(branch.path for branch in self.branches.values() if branch.trunk == ref)

    def _changed(self, changed: Mapping[str, Branch]) -> Trunk:
        """The trunk in the precision that is asked for, which these branches read from now on."""
        computing, first = self.computing, next(iter(changed.values()))
        dtype, backend = computing.dtype_for(first.trunk.dtype), computing.compiler or "torch"
        found = (branch.trunk.ranges for branch in self.branches.values() if branch.trunk.ranges is not None)
        trunk = self._load(first.trunk, dtype, backend, next(found, None) if dtype == "int8" else None)
        for branch in changed.values():
            branch.check_trunk(trunk)
        if trunk.compiled is not None and trunk.compiled.calibrates:
            self.sample.calibrate(trunk, max(branch.max_length for branch in changed.values()))
        moved = dict.fromkeys(changed, trunk)
        own = {}
        for name, branch in changed.items():
            try:
                own[branch.trunk.precision] = self._load(
                    branch.trunk, branch.trunk.dtype, own_backend(branch.trunk), branch.trunk.ranges
                )
            except BadInput as error:
                self.findings.append(
                    f"{name} was trained on {branch.trunk.dtype} and answers from {described(trunk)}, unchecked: {error}"
                )
        checked = {name: branch for name, branch in changed.items() if branch.trunk.precision in own}
        if checked:
            for name, said in agreements(Plan(own, checked), Plan({}, checked, moved), self.sample).items():
                before = described(own[changed[name].trunk.precision])
                self.findings.append(f"{name} was trained on {before} and answers from {described(trunk)}: {said}")
        self.moved |= moved
        return trunk

    def _tuned(self) -> None:
        """Branches that change their trunk, merged and compiled where that can be done; a finding says why it cannot."""
        made: dict[int, Trunk | str] = {}
        for name, branch in self.branches.items():
            tuned = branch.source
            if not isinstance(tuned, TunedTrunk):
                continue
            dtype = self.computing.dtype_for(tuned.precision)
            if dtype != tuned.precision and not self.computing.permitted:
                raise self.computing.refusal(branch, tuned.precision)
            if self.computing.compiler is None:
                if dtype != tuned.precision:
                    self.findings.append(
                        f"{name} answers from {tuned.precision} as before: torch runs a tuned trunk as trained"
                    )
                continue
            if id(tuned) not in made:
                made[id(tuned)] = self._compiled(tuned, branch, self.computing.compiler, dtype)
            found = made[id(tuned)]
            if isinstance(found, str):
                self.findings.append(f"{name} stays on torch: {found}")
                continue
            self.moved[name] = found
            if dtype != tuned.precision:
                said = agreements(Plan({}, {name: branch}), Plan({}, {name: branch}, {name: found}), self.sample)[name]
                self.findings.append(
                    f"{name} was trained on {tuned.precision} (torch) and answers from {described(found)}: {said}"
                )

    def _compiled(self, tuned: TunedTrunk, branch: Branch, backend: str, dtype: str) -> Trunk | str:
        """The merged trunk, compiled; or why there is none."""
        has = backends.get(backend, key="backend").precisions
        find_backend(backend, has[0])  # whatever is wrong with the backend itself is an error
        if dtype not in has:
            return f"it was trained in {dtype}, which backend {backend} does not have"
        try:
            trunk = compiled_copy(tuned, backend, dtype)
            assert trunk.compiled is not None
            if trunk.compiled.calibrates:
                self.sample.calibrate(trunk, branch.max_length)
            inputs = trunk.collate(trunk.encode(["a"]), [0])
            trunk.compiled.run(inputs, branch.module.wanted(), lambda layer, state: None)
        except TrunklineError as error:
            return str(error)
        return trunk


def own_backend(ref: TrunkRef) -> str:
    """The backend that a branch was trained on, or torch where that is not installed and gives the same states."""
    return ref.backend if ref.dtype == "int8" or installed(ref.backend) else "torch"
