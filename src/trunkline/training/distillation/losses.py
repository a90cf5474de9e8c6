"""What a student is compared by: distances between its layer states and the teacher's, and between relations within attention.

All rows are packed (inputs/batching.py `Layout`), so padding takes part in none of them.

mse       the mean over real tokens and the teacher's width of (W s - t)^2, W the projection of a narrower student; the sum over
          layers: TinyBERT's eq. 8 and 9, general_distill.py `rep_loss`, whose mean also counts padding.
cosine    the mean over real tokens of 1 - cos(W s, t), as torch's CosineEmbeddingLoss with target 1: DistilBERT's `loss_cos`
          (distiller.py), there on the last layer.
relation  MiniLMv2's eq. 5 to 8: query, key and value vectors of a block are divided into A relation heads of width d; their
          relations are R = softmax(X X^T / sqrt(d)), and the loss is the KL divergence of the student's from the teacher's, the
          mean over heads, tokens of a text and texts; the sum over query, key and value. It needs no attention of the teacher's
          pass: the three are linear maps of the state below their block, which the states store has, and the maps are the
          teacher's own (as in minilmv2.py of bloomberg/minilmv2.bb). That holds where a block does not normalise its input
          first, hence RELATIONS. Relations are of no width, so a narrower student needs no projection for them.

Attention distributions themselves (TinyBERT's eq. 7, MiniLM's first version) are not compared: the store does not have them,
and with the masks and positions of each architecture they would be computed again in every epoch; MiniLMv2 does without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout
from trunkline.training.distillation.config import LossesSection, LossSection, RelationSection
from trunkline.training.distillation.student import Student
from trunkline.trunk.architectures import Taps
from trunkline.trunk.load import Trunk
from trunkline.tuners.targets import PARTS

# Architectures whose query, key and value are each a linear map of the block's input as it is.
RELATIONS = ("bert", "roberta", "xlm-roberta", "electra", "mpnet", "deberta-v2", "distilbert")
MASKED = -1e9  # a score that softmax makes 0 of, and whose differences are numbers


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of rows (N, K)."""
    return F.mse_loss(student, teacher)


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean of 1 - cosine of rows (N, K)."""
    return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()


def relation(student: Tensor, teacher: Tensor, layout: Layout, heads: int) -> Tensor:
    """KL divergence of the relations of student rows (N, k) from those of teacher rows (N, K), both divided into `heads`."""
    mask = layout.mask
    ours, theirs = (_log_relations(layout.pad(rows), mask, heads) for rows in (student, teacher))
    divergence = (theirs.exp() * (theirs - ours)).sum(-1)  # (B, A, T)
    divergence = divergence.mean(1).masked_fill(~mask, 0.0).sum(-1) / layout.lengths
    return divergence.mean()


def _log_relations(rows: Tensor, mask: Tensor, heads: int) -> Tensor:
    """(B, T, K) to log relations (B, A, T, T); `mask` (B, T) tells the real tokens."""
    split = rows.unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = split @ split.transpose(-1, -2) / math.sqrt(split.shape[-1])
    return scores.masked_fill(~mask[:, None, None, :], MASKED).log_softmax(-1)


@dataclass(frozen=True)
class Term:
    """One loss: its weight, and pairs of layers (student's, teacher's); of relations, of blocks."""

    name: str
    weight: float
    pairs: tuple[tuple[int, int], ...]
    heads: int = 0


def matched_layers(section: LossSection, student: int, teacher: int, first: int) -> tuple[tuple[int, int], ...]:
    """Pairs (student's layer, teacher's layer) of a loss, rising.

    `all` is TinyBERT's uniform map g(m) = m l / M, rounded where l is no multiple of M.

    Args:
        section: whose `layers`.
        student, teacher: M and l, how many blocks each has.
        first: the lowest layer that the loss knows: 0, or 1 where layers are blocks.

    Raises:
        BadInput: a layer that one of them does not have.
    """
    if section.layers == "last":
        return ((student, teacher),)
    if section.layers == "all":
        return tuple((layer, math.floor(layer * teacher / student + 0.5)) for layer in range(first, student + 1))
    for own, other in section.layers.items():
        for who, layer, last in (("student", own, student), ("teacher", other, teacher)):
            if not first <= layer <= last:
                raise BadInput(found=f"{who}'s layer {layer}", expected=f"{first} to {last}")
    return tuple(sorted(section.layers.items()))


class Comparison:
    """The losses of a config between a student and its teacher.

    Args:
        losses: the `losses:` section.
        student: of width k.
        teacher: in fp32 and computed by torch; relations use its linear maps.

    Attributes:
        student_layers, teacher_layers: the states that are read of each, rising.

    Raises:
        BadInput: layers that one of them does not have, relations of an architecture that is not among RELATIONS, or a number
            of relation heads that a width is no multiple of.
    """

    def __init__(self, losses: LossesSection, student: Student, teacher: Trunk) -> None:
        self.student = student
        self.terms = [_term(name, section, student, teacher) for name, section in losses.given().items()]
        pairs = [(own - (t.heads > 0), other - (t.heads > 0)) for t in self.terms for own, other in t.pairs]
        self.student_layers = tuple(sorted({own for own, _ in pairs}))
        self.teacher_layers = tuple(sorted({other for _, other in pairs}))
        blocks = {pair for term in self.terms if term.heads for pair in term.pairs}
        paths = PARTS[teacher.architecture]
        self._paths = (paths.query, paths.key, paths.value)
        self._own = {own: _maps(student.taps, own, self._paths) for own, _ in blocks}
        self._others = {other: _maps(teacher.taps, other, self._paths) for _, other in blocks}

    def described(self) -> list[dict[str, object]]:
        """The losses as plain JSON: name, weight and pairs of layers."""
        return [
            {"loss": t.name, "weight": t.weight, "layers": {str(own): other for own, other in t.pairs}}
            | ({"heads": t.heads} if t.heads else {})
            for t in self.terms
        ]

    @property
    def reaches_last(self) -> bool:
        """Whether the state of the student's last block is compared, so that all of that block learns."""
        return self.student.num_layers in self.student_layers

    def losses(self, own: Mapping[int, Tensor], theirs: Mapping[int, Tensor], layout: Layout) -> dict[str, Tensor]:
        """Each loss of a batch by name, without its weight, summed over its layers.

        Args:
            own: by layer the student's rows (N, k).
            theirs: by layer the teacher's rows (N, K), on the same device.
            layout: where the rows lie.
        """
        states = {layer: rows.float() for layer, rows in theirs.items()}
        projected: dict[int, Tensor] = {}
        found: dict[str, Tensor] = {}
        for term in self.terms:
            parts = []
            for layer, other in term.pairs:
                if term.heads:
                    parts.append(self._relations(own[layer - 1].float(), states[other - 1], layer, other, layout, term.heads))
                    continue
                if layer not in projected:
                    projected[layer] = self.student.projected(own[layer])
                parts.append(DISTANCES[term.name](projected[layer], states[other]))
            found[term.name] = torch.stack(parts).sum()
        return found

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """What is minimised: the losses times their weights, summed."""
        return torch.stack([term.weight * losses[term.name] for term in self.terms]).sum()

    def _relations(self, own: Tensor, theirs: Tensor, block: int, other: int, layout: Layout, heads: int) -> Tensor:
        parts = []
        for ours, teachers in zip(self._own[block], self._others[other], strict=True):
            with torch.no_grad():
                target = teachers(theirs)
            parts.append(relation(ours(own), target, layout, heads))
        return torch.stack(parts).sum()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "cosine": cosine}


def _term(name: str, section: LossSection, student: Student, teacher: Trunk) -> Term:
    of_blocks = isinstance(section, RelationSection)
    if of_blocks and teacher.architecture not in RELATIONS:
        found = f"a trunk of the architecture {teacher.architecture}"
        raise BadInput(found=found, expected=f"one of {', '.join(RELATIONS)}", key="losses.relation")
    try:
        pairs = matched_layers(section, student.num_layers, teacher.num_layers, 1 if of_blocks else 0)
    except BadInput as error:
        raise error.at("", f"losses.{name}.layers") from None
    heads = 0
    if isinstance(section, RelationSection):
        heads = section.heads or int(student.model.config.num_attention_heads)
        for width in (student.hidden_size, teacher.hidden_size):
            if width % heads:
                raise BadInput(found=str(heads), expected=f"a divisor of the width {width}", key="losses.relation.heads")
    return Term(name, section.weight, pairs, heads)


def _maps(taps: Taps, block: int, paths: tuple[str, ...]) -> list[nn.Module]:
    """The query, key and value maps of a block, from 1."""
    return [taps.blocks[block - 1].get_submodule(path) for path in paths]
