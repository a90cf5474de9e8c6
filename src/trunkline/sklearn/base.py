"""What the estimators share: parameters, a fit in a folder of its own, and how a fitted one is kept on disk."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.validation import column_or_1d

from trunkline.data.memory import is_table_like
from trunkline.errors import BadInput, clipped
from trunkline.files import atomic_directory, cache_dir, new_folder, path_of, read_object, write_json
from trunkline.model.arguments import texts_of
from trunkline.model.branch import save_branch
from trunkline.model.bundle import Bundle
from trunkline.model.folders import is_branch_or_run
from trunkline.sklearn.parameters import checked
from trunkline.terminal import leads
from trunkline.trackers.progress import shown_from_python
from trunkline.training.fit import fit
from trunkline.training.guessed import training_for

TASK = "label"  # the name of the task, and of the branch that it becomes
NO_Y = "y: requires y to be passed, but the target y is None"  # scikit-learn's own words, which its tools look for
FILE, BRANCH = "estimator.json", "branch"
FOLDER = "the path of a folder"


class TextEstimator(BaseEstimator):
    """Parameters and life of an estimator.

    Args:
        method: the name of a method, or the `method` section of a config as a mapping.
        trunk: the name or the folder of a transformer, or the `trunk` section of a config.
        epochs: passes over the rows; None: as many as suit their number.
        learning_rate: None: the default.
        training: further keys of the `training` section of a config.
        validation_fraction: share of X that `fit` draws by `random_state` and does not train on: the weights that do best on it
            are kept, and early stopping goes by it.
        random_state: seed of the draws; a RandomState or None (another one each time) as scikit-learn has it.
        verbose: whether `fit` writes its progress to stderr.
    """

    def __init__(
        self,
        method: str | Mapping[str, Any] = "adalayers",
        trunk: str | Path | Mapping[str, Any] = "minilm",
        *,
        epochs: int | None = None,
        learning_rate: float | None = None,
        training: Mapping[str, Any] | None = None,
        validation_fraction: float = 0.1,
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        self.method = method
        self.trunk = trunk
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.training = training
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.verbose = verbose

    def save(self, folder: str | Path) -> None:
        """Write the fitted estimator to a folder, as JSON and safetensors; `load` reads it.

        Args:
            folder: new, empty, or one with an earlier estimator that `save` has written and nothing else, which is replaced.

        Raises:
            BadInput: something else is in the folder, or a parameter is nothing that JSON can hold.
        """
        self._fitted()
        path = path_of(folder, "save", FOLDER).expanduser().resolve()
        if not _is_saved(path):
            try:
                new_folder(path)
            except BadInput as error:
                raise BadInput(f"{error}, or one with an estimator that save has written and nothing else") from None
        try:
            json.dumps(params := self._plain_params())
        except (TypeError, ValueError):
            raise BadInput(f"{path}: a parameter cannot be written as JSON, expected names and numbers") from None
        with atomic_directory(path) as temporary:
            write_json(temporary / FILE, {"class": type(self).__name__, "parameters": params, "fitted": self._described()})
            save_branch(self._branch, temporary / BRANCH)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the fitted estimator that `save` has written; BadInput if there is none of this class."""
        path = path_of(folder, "load", FOLDER)
        if not (path / FILE).exists():
            if is_branch_or_run(path):
                way = f"Bundle.open opens it; expected a folder that {cls.__name__}.save has written"
                raise BadInput(f"{path}: a branch or a run, and no saved estimator; {way}")
            found = "no saved estimator in it" if path.exists() else "no such folder"
            raise BadInput(f"{path}: {found}; expected one that {cls.__name__}.save has written, with {FILE}")
        described = read_object(path / FILE)
        if described.get("class") != cls.__name__:
            raise BadInput(f"{path / FILE}: found a saved {clipped(described.get('class'))}, expected a {cls.__name__}")
        parameters, fitted = described.get("parameters"), described.get("fitted")
        known = set(cls._get_param_names())
        if not (isinstance(parameters, dict) and parameters.keys() <= known and isinstance(fitted, dict)):
            raise BadInput(f"{path / FILE}: found other keys or values, expected what save writes: parameters and fitted")
        estimator = cls(**parameters)
        estimator._restore(fitted)
        estimator.bundle_ = Bundle.open(path / BRANCH)
        return estimator

    def __sklearn_is_fitted__(self) -> bool:
        return "bundle_" in vars(self) or "branch_path_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array = True, True, False
        tags.target_tags.required = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """All but the weights: these are saved as a branch in the cache, and found there again."""
        state = dict(super().__getstate__())
        if "bundle_" in state:
            del state["bundle_"]
            state["branch_path_"] = str(self._kept())
        return state

    def _kept(self) -> Path:
        """The folder in the cache with this estimator's branch, written if it is not there."""
        branch = self._branch
        described = [branch.task.state(), branch.trunk.weights]
        if branch.decision is not None:
            described.append(branch.decision.model_dump(mode="json"))
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
        for name, value in sorted(branch.weights().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().view(-1).float().numpy().tobytes())
        path = cache_dir() / "estimators" / digest.hexdigest()[:32] / TASK
        if not (path / "branch.json").is_file():
            save_branch(branch, path)
        return path.resolve()

    @property
    def _branch(self) -> Any:
        return self._fitted().branches[TASK]

    def _fitted(self) -> Bundle:
        """The bundle to ask, loaded where a pickle has only said where its branch is."""
        own = vars(self)
        if "bundle_" in own:
            return own["bundle_"]
        if "branch_path_" not in own:
            raise NotFittedError(f"This {type(self).__name__} instance is not fitted yet; call fit first.")
        if not (path := Path(own["branch_path_"])).is_dir():
            raise BadInput(
                f"{path}: the branch of this {type(self).__name__} is not there, and a pickle holds no weights; expected a "
                f"model that was moved by save(folder) and {type(self).__name__}.load(folder)"
            )
        self.bundle_ = Bundle.open(path)
        return self.bundle_

    def _plain_params(self) -> dict[str, Any]:
        """The parameters as JSON has them."""
        params = {name: str(value) if isinstance(value, Path) else value for name, value in self.get_params(deep=False).items()}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in params.items()}

    def _described(self) -> dict[str, Any]:
        """What `fit` has learned besides the branch, as JSON."""
        return {}

    def _restore(self, described: dict[str, Any]) -> None:
        """Take back what `_described` has given."""

    def _train(self, columns: dict[str, list], task: dict[str, Any], sample_weight: Any) -> None:
        """Fit a branch for `task` on columns of one length; rows of weight 0 are left out."""
        own = checked(self.get_params(deep=False))
        count = len(next(iter(columns.values())))
        weights = _weights(sample_weight, count)
        if weights is not None:
            kept = np.flatnonzero(weights > 0)
            columns = {name: [values[row] for row in kept] for name, values in columns.items()}
            count, columns["weight"] = len(kept), weights[kept].tolist()
        training = {**training_for(count), **(own["training"] or {})}
        asked = {"epochs": own["epochs"], "learning_rate": own["learning_rate"], "seed": _seed(self.random_state)}
        config: dict[str, Any] = {
            "trunk": str(self.trunk) if isinstance(self.trunk, Path) else self.trunk,
            "data": {
                "train": columns,
                "validation": own["validation_fraction"],
                "weight": None if weights is None else "weight",
                "missing": [],  # a label is a label, whatever it is called
            },
            "tasks": {TASK: task},
            "method": self.method,
            "training": training | {key: value for key, value in asked.items() if value is not None},
        }
        shows = shown_from_python() if self.verbose and leads() else nullcontext()
        with tempfile.TemporaryDirectory(prefix="trunkline-") as folder, shows as display:
            try:  # `fit` would end with the folder, which does not stay
                told = [] if display is None else [display]
                run = fit(config, run_dir=Path(folder) / "run", progress=False, subscribers=told)
            except BadInput as error:
                raise BadInput(_of_arguments(str(error))) from None
            except KeyboardInterrupt:  # its sentence is about a checkpoint, which goes with the folder
                raise KeyboardInterrupt("interrupted; nothing of this fit was kept, another call of fit starts again") from None
            if display is not None:
                for line in run.score_lines():
                    display.line(line, indent=4)
            bundle = Bundle.open(run.path)
        self.__dict__.pop("branch_path_", None)  # of an earlier fit
        bundle.stored = training.get("states_dtype", "bf16")  # what other folds have stored need not be computed again
        self.bundle_ = bundle
        self.validation_scores_ = {
            name: value for name, value in run.tasks[TASK]["validation"].items() if not isinstance(value, dict)
        }
        self.findings_ = [_of_arguments(finding) for finding in run.summary["findings"]]


def _is_saved(path: Path) -> bool:
    """Whether a folder holds what `save` writes, and nothing else."""
    inside = {str(entry.relative_to(path)) for entry in path.rglob("*")} if path.is_dir() else set()
    if inside != {FILE, BRANCH, f"{BRANCH}/branch.json", f"{BRANCH}/weights.safetensors"}:
        return False
    try:
        return read_object(path / FILE).keys() == {"class", "parameters", "fitted"}
    except BadInput:
        return False


def _of_arguments(sentence: str) -> str:
    """A sentence about the config of a fit with the names of an estimator's arguments in it."""
    sentence = sentence.removeprefix("config: ").replace("data.validation", "validation_fraction")
    sentence = re.sub(r"data\.train row (\d+)[:,] column 'label'[,:]?", r"y \1:", sentence)
    return re.sub(r"data\.train(, column 'label')?", lambda match: "y" if match[1] else "X", sentence)


def of_objects(rows: list[list[Any]]) -> np.ndarray:
    """Lists as the elements of an array (rows,), which can be concatenated with another one, as `cross_val_predict` does."""
    array = np.empty(len(rows), object)
    for place, row in enumerate(rows):  # lists of one length would be taken for a matrix
        array[place] = row
    return array


def one_column(y: Any, expected: str) -> np.ndarray:
    """y as an array (rows,), with scikit-learn's warning for one column; BadInput for another shape."""
    try:
        return column_or_1d(y, warn=True)
    except (TypeError, ValueError):
        try:
            shape: Any = np.asarray(y).shape
        except ValueError:
            shape = "lists of different lengths"
        found = f"shape {shape}" if isinstance(shape, tuple) else shape
        raise BadInput(f"y: found {found}, expected {expected}") from None


def unmasked(values: Any, absent: Any = None) -> Any:
    """An array with `absent` where a masked one has no value; anything else as it is."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if not np.ma.is_masked(values):
        return values.data
    found = values.data.astype(object if absent is None else np.float64)
    found[np.ma.getmaskarray(values)] = absent
    return found


def texts_from(X: Any) -> list[str]:
    """The texts of X, one for each sample."""
    if isinstance(X, str):
        raise BadInput("X: found one string, expected a list of strings")
    return texts_of("X", "X: text", _only_column(X))


def _only_column(X: Any) -> Any:
    """The column of a frame or an array that has one, as a ColumnTransformer gives it; anything else as it is."""
    if isinstance(X, np.ndarray) and X.ndim == 2:
        if X.shape[1] != 1:
            raise BadInput(f"X: found an array of shape {X.shape}, expected one column of texts")
        return X[:, 0]
    if not is_table_like(X):
        return X
    names = list(X.column_names if hasattr(X, "column_names") else X.columns)
    if len(names) != 1:
        raise BadInput(f"X: found {type(X).__name__} with {len(names)} columns, expected one column of texts")
    return X.iloc[:, 0] if hasattr(X, "iloc") else X[names[0]]


def same_length(X: list[Any], y: list[Any]) -> None:
    """Raise BadInput unless there is one y for each sample of X, and some sample."""
    if not X:
        raise BadInput("X: found no samples, expected at least two")
    if len(X) != len(y):
        raise BadInput(f"y: found {len(y)} for {len(X)} samples of X, expected one for each")


def _weights(given: Any, count: int) -> np.ndarray | None:
    """sample_weight as fp64 (count,); None where there is none."""
    if given is None:
        return None
    try:
        given = unmasked(given, np.nan)
        weights = np.full(count, given, np.float64) if np.isscalar(given) else np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise BadInput("sample_weight: found values that are no numbers, expected one number for each sample") from None
    if weights.shape != (count,):
        raise BadInput(f"sample_weight: found shape {weights.shape}, expected ({count},)")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise BadInput("sample_weight: found a negative weight, NaN or infinity, expected finite numbers of at least 0")
    if count and not weights.any():
        raise BadInput("sample_weight: every weight is zero, expected at least one that is positive")
    return weights


def _seed(random_state: Any) -> int:
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
