"""The sections of a page about a branch, a file each: a function that makes a `Section` of a `Subject`.

One that does not apply to a branch returns a `Section` with a note alone, which says why.
"""

from __future__ import annotations

from collections.abc import Callable

from trunkline.explain.sections.attributions import attributions
from trunkline.explain.sections.calibration import calibration
from trunkline.explain.sections.confusion import confusion
from trunkline.explain.sections.contributions import contributions
from trunkline.explain.sections.history import history
from trunkline.explain.sections.label_errors import label_errors
from trunkline.explain.sections.labels import labels
from trunkline.explain.sections.layers import layers
from trunkline.explain.sections.numbers import numbers
from trunkline.explain.sections.scores import scores
from trunkline.explain.sections.single_layers import single_layers
from trunkline.explain.sections.texts import texts
from trunkline.explain.subject import Subject
from trunkline.pages.section import Section

# In the order of the page.
SECTIONS: tuple[Callable[[Subject], Section], ...] = (
    scores,
    layers,
    history,
    single_layers,
    confusion,
    labels,
    numbers,
    calibration,
    contributions,
    attributions,
    texts,
    label_errors,
)
