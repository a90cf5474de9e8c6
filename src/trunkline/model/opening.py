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
from trunkline.model.compiling import compiled_source
from trunkline.model.folders import branch_folders
from trunkline.model.plan import Plan, named
from trunkline.model.precision import Computing, Sample, agreements, described, precisions
from trunkline.model.trunk_ref import TrunkRef
from trunkline.trunk.backends import Ranges, installed
from trunkline.trunk.load import Trunk
from trunkline.trunk.shared import shared_trunk
from trunkline.tuners.tuned import TunedTrunk


@dataclass(frozen=True)
class Opened:
    """What a bundle is made of.

    Attributes:
        trunk: the one that all branches belong to.
        branches: by name.
        trunks: that trunk, by its precision, for the branches that read the precision on which they were trained.
        moved: by name of a branch, the trunk that it reads instead of the one that it was trained on.
        findings: sentences on these.
    """

    trunk: Trunk
    branches: dict[str, Branch]
    trunks: dict[str, Trunk] = field(default_factory=dict)
    moved: dict[str, Trunk] = field(default_factory=dict)
    findings: tuple[str, ...] = ()


def open_branches(paths: Any, trunk: str | Trunk | None, device: str, computing: Computing | None = None) -> Opened:
    """Load branches and what they are answered from.

    Args:
        paths: branch directories, or run directories with all their branches; one, several or a mapping of names to these. What
            has such a directory as its `path`, as what `fit` returns, stands for it.
        trunk: another place where the same trunk is found, or a trunk already loaded.
        device: "auto", "cpu" or "cuda".
        computing: the backend and precision that are asked for; by default each branch has the precision that it was trained
            on, in the backend of the first that was trained on it, or in torch where that is not installed and gives the same
            states.

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
        self.trunks: dict[str, Trunk] = {}
        self.moved: dict[str, Trunk] = {}
        self.findings: list[str] = []
        self._sample: Sample | None = None

    def opened(self) -> Opened:
        computing, given, trunks = self.computing, self.given, self.trunks
        changed = self._changed()
        if isinstance(given, Trunk) and computing.backend in (None, given.backend):
            trunks[given.precision] = given
        for ref in (branch.trunk for name, branch in self.reading.items() if name not in changed):
            if ref.precision not in trunks:
                trunks[ref.precision] = (
                    beside(given, ref, computing.backend)
                    if isinstance(given, Trunk)
                    else self._load(ref, ref.dtype, computing.backend or own_backend(ref), ref.ranges)
                )
        if changed:
            self._change(changed)
        trunk = self.source
        if self.reading:
            first, branch = next(iter(self.reading.items()))
            trunk = self.moved.get(first) or (given if given in trunks.values() else trunks[branch.trunk.precision])
        assert isinstance(trunk, Trunk)
        if computing.compiler is not None or computing.dtype is not None:
            self._tuned()
        return Opened(trunk, self.branches, trunks, self.moved, tuple(self.findings))

    def _changed(self) -> dict[str, Branch]:
        """The branches that are to read another precision of the trunk than in training; BadInput where that was not allowed,
        or where the backend does not have the precision of a branch.
        """
        computing, changed = self.computing, {}
        has = None if computing.backend is None else precisions(computing.backend)
        for name, branch in self.branches.items():
            trained = branch.source.precision if isinstance(branch.source, TunedTrunk) else branch.trunk.dtype
            if computing.dtype_for(trained) != trained:
                if not computing.permitted:
                    raise computing.refusal(branch, trained)
                if name in self.reading:
                    changed[name] = branch
            elif name in self.reading and has is not None and trained not in has:
                raise BadInput(
                    f"{branch.path or name} was trained on states in {trained}, which backend {computing.backend} does not "
                    f"have (it has {', '.join(has)}); train with trunk.dtype: fp32, name another backend, or let it answer "
                    "from another precision with --allow-precision-change (allow_precision_change=True)"
                )
        return changed

    @property
    def sample(self) -> Sample:
        if self._sample is None:
            self._sample = Sample.of(self.computing.allowed)
        return self._sample

    def calibrate(self, trunk: Trunk, max_length: int) -> None:
        self.sample.calibrate(trunk, max_length)

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

    def _change(self, changed: Mapping[str, Branch]) -> None:
        """Let these branches read the trunk in the precision that is asked for, together with those that were trained on it."""
        computing, first = self.computing, next(iter(changed.values()))
        dtype = computing.dtype_for(first.trunk.dtype)
        trunk = next((trunk for trunk in self.trunks.values() if trunk.dtype == dtype), None)
        if trunk is None:
            trunk = self._load(first.trunk, dtype, computing.compiler or "torch", None)
        for branch in changed.values():
            branch.check_trunk(trunk)
        if trunk.reads != "text":
            raise BadInput(
                f"{first.path or first.task.name} reads audio, and another precision is checked on sample texts; expected "
                f"{first.trunk.dtype}, as in training"
            )
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
        self.trunks.setdefault(trunk.precision, trunk)
        self.moved |= moved

    def _tuned(self) -> None:
        """Branches that change their trunk, merged and compiled where that can be done; a finding says why it cannot."""
        made: dict[int, Trunk | str] = {}
        for name, branch in self.branches.items():
            tuned = branch.source
            if not isinstance(tuned, TunedTrunk):
                continue
            dtype = self.computing.dtype_for(tuned.precision)
            if self.computing.compiler is None:
                if dtype != tuned.precision:
                    self.findings.append(
                        f"{name} answers from {tuned.precision} as before: torch runs a tuned trunk as trained"
                    )
                continue
            if id(tuned) not in made:
                made[id(tuned)] = compiled_source(branch, self.computing.compiler, dtype, self.calibrate)
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


def own_backend(ref: TrunkRef) -> str:
    """The backend that a branch was trained on, or torch where that is not installed and gives the same states."""
    return ref.backend if ref.dtype == "int8" or installed(ref.backend) else "torch"


def beside(trunk: Trunk, ref: TrunkRef, backend: str | None) -> Trunk:
    """`trunk` in the precision that a branch was trained on: in `backend`, if that has it, else in the backend of training."""
    if trunk.device.type != "cpu" and ref.dtype != "int8":  # what compiles does so for the CPU
        backend = "torch"
    elif backend is None or ref.dtype not in precisions(backend):
        backend = own_backend(ref)
    return shared_trunk(
        trunk.folder, stack=trunk.stack, dtype=ref.dtype, device=trunk.device, backend=backend, ranges=ref.ranges
    )
