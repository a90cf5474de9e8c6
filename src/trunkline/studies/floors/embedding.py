"""The mean of a text's states in the trunk's last layer with a linear model: what the trunk knows of a text untrained.

The mean is over all tokens, special ones included, as sentence-transformers pools all-MiniLM-L6-v2 (Reimers and Gurevych 2019,
arXiv 1908.10084, section 3); of a text in windows over the tokens of all windows where the task reads them. A pair is encoded
as a branch reads it, as one sequence. Each dimension is standardised on the training rows, as those of some trunks differ by
orders of magnitude.
"""

from __future__ import annotations

import numpy as np
from accelerate import Accelerator
from sklearn.preprocessing import StandardScaler

from trunkline.branches import methods
from trunkline.events import Subscriber
from trunkline.model.frozen import FROZEN
from trunkline.states.pooled import PooledStates
from trunkline.studies.floors.base import Floor, Measured, Subject, floors
from trunkline.studies.floors.linear import Features, best_linear, regression_of, unsuited
from trunkline.tasks import Task
from trunkline.training.calibration import calibrate
from trunkline.training.config import RunConfig
from trunkline.training.cost import Cost
from trunkline.training.feeds import Feeds
from trunkline.training.prepare import Prepared, Split, encode_splits
from trunkline.training.run import open_trunk

GRID = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)


@floors.register("embedding")
class Embedding(Floor):
    """The mean-pooled last layer with logistic or ridge regression."""

    name = "embedding"

    @staticmethod
    def title(task: Task) -> str:
        return f"mean-pooled embedding with {regression_of(task)}"

    @staticmethod
    def unsuited(group: Prepared, task: Task) -> str | None:
        return unsuited(task)

    @staticmethod
    def measure(subject: Subject) -> Measured:
        def features() -> Features:
            vectors = {name: subject.embed(split) for name, split in subject.group.splits.items()}
            scale = StandardScaler().fit(vectors["train"][subject.targets("train").present])
            return {name: scale.transform(own) for name, own in vectors.items()}

        return best_linear(subject, [({}, features)], GRID)


class Embeddings:
    """Mean-pooled states of the last layer, from where a side branch would read them (`training.states`).

    The trunk is loaded when a split is first asked for; what was pooled is kept.

    Args:
        config: resolved. Its method is left aside, as the trunk is read as it is.
        groups: all that `prepare` has made of the config.
        publish: told of what is stored.
        feeds: where to read from, if the trunk is there and has read the texts.
    """

    def __init__(self, config: RunConfig, groups: list[Prepared], publish: Subscriber, feeds: Feeds | None = None) -> None:
        frozen = methods.get("probe").Config(name="probe")
        self._config, self._groups, self._publish = config.model_copy(update={"method": frozen}), groups, publish
        self._feeds = feeds
        self._pooled: dict[int, np.ndarray] = {}

    def of(self, task: Task, split: Split) -> np.ndarray:
        """A vector for each text, of what a task reads of it: fp32 (texts, K)."""
        pooled = self._sequences(split)
        assert split.encoded is not None
        read = task.answers(split.encoded).read
        texts, own = split.encoded.text_of[read], pooled[read]
        if len(own) == split.encoded.n_texts:
            return own
        weights = split.encoded.lengths[read].astype(np.float64)
        sums = np.zeros((split.encoded.n_texts, own.shape[1]))
        np.add.at(sums, texts, own * weights[:, None])
        return (sums / np.bincount(texts, weights)[:, None]).astype(np.float32)

    @property
    def feeds(self) -> Feeds:
        """With the trunk, which has read all texts."""
        if self._feeds is None:
            self._feeds = self._opened()
        return self._feeds

    def _sequences(self, split: Split) -> np.ndarray:
        """A vector for each sequence."""
        if id(split) not in self._pooled:
            layer = self.feeds.trunk.num_layers
            feed, _ = self.feeds.open(split, FROZEN, [layer], Cost())
            states = PooledStates(feed, [layer], "mean")
            self._pooled[id(split)] = states.of(np.arange(len(states.lengths)))(layer).numpy()
        return self._pooled[id(split)]

    def _opened(self) -> Feeds:
        config = self._config
        accelerator = Accelerator(cpu=config.trunk.device == "cpu")
        trunk = open_trunk(config, accelerator)
        for group in self._groups:
            encode_splits(group, trunk, config.trunk.max_length or trunk.max_length)
        if trunk.compiled is not None and trunk.compiled.calibrates:
            calibrate(trunk, self._groups, config.training.seed)
        return Feeds(config, trunk, accelerator, self._publish)
