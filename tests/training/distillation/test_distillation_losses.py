"""The losses against plain loops, against torch's own, and on batches with and without padding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studenttools import EVERY, compared, losses_of
from tiny import WORDS
from transformers import AutoModel, AutoTokenizer

from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout
from trunkline.training.distillation.config import LossSection, RelationSection
from trunkline.training.distillation.losses import cosine, matched_layers, mse, relation
from trunkline.trunk.load import load_trunk

TEXTS = ["the film was great", "play a slow song for two in paris", "rain"]


@pytest.fixture(scope="module")
def trunk(tiny_trunk_dir):
    return load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")


def rows(lengths, width, seed):
    return torch.randn(sum(lengths), width, generator=torch.Generator().manual_seed(seed))


def plain_relation(ours, theirs, heads):
    """MiniLMv2's equations 6 to 8 for one text, entry by entry."""
    total = 0.0
    for head in range(heads):
        tables = []
        for x in (ours, theirs):
            d = x.shape[1] // heads
            part = x[:, head * d : (head + 1) * d]
            scores = [[sum(float(a) * float(b) for a, b in zip(p, q, strict=True)) / math.sqrt(d) for q in part] for p in part]
            exps = [[math.exp(s) for s in row] for row in scores]
            tables.append([[e / sum(row) for e in row] for row in exps])
        for student, teacher in zip(*tables, strict=True):
            total += sum(t * math.log(t / s) for s, t in zip(student, teacher, strict=True))
    return total / heads / len(ours)


def test_relations_are_those_of_the_formula_and_of_torchs_divergence():
    lengths = [3, 1, 5]
    ours, theirs = rows(lengths, 8, 0), rows(lengths, 12, 1)  # the student is narrower
    layout = Layout(torch.tensor(lengths))
    parts = list(zip(ours.split(lengths), theirs.split(lengths), strict=True))
    plain = sum(plain_relation(a, b, 4) for a, b in parts) / 3
    found = float(relation(ours, theirs, layout, 4))
    assert found == pytest.approx(plain, abs=1e-5) and found > 0.01
    divergence = torch.nn.KLDivLoss(reduction="sum")  # as minilmv2.py has it, text by text
    summed = 0.0
    for a, b in parts:
        x, y = (z.unflatten(-1, (4, -1)).transpose(0, 1) for z in (a, b))
        r, s = (z @ z.transpose(1, 2) / math.sqrt(z.shape[-1]) for z in (x, y))
        summed += divergence(r.log_softmax(-1), s.softmax(-1)) / (4 * len(a))
    assert found == pytest.approx(float(summed) / 3, abs=1e-5)


def test_mse_and_cosine_are_torchs_on_what_is_no_padding():
    lengths = [4, 2]
    ours, theirs = rows(lengths, 6, 0), rows(lengths, 6, 1)
    layout = Layout(torch.tensor(lengths))
    mask = layout.mask.unsqueeze(-1).expand(2, 4, 6)  # as distiller.py selects hidden states
    s, t = (torch.masked_select(layout.pad(x), mask).view(-1, 6) for x in (ours, theirs))
    expected = torch.nn.CosineEmbeddingLoss(reduction="mean")(s, t, torch.ones(len(s)))
    assert float(cosine(ours, theirs)) == pytest.approx(float(expected), abs=1e-6)
    assert float(mse(ours, theirs)) == pytest.approx(float(torch.nn.MSELoss()(s, t)), abs=1e-6)


def test_a_comparison_is_a_plain_loop_over_the_states_that_transformers_gives(trunk, tiny_trunk_dir):
    student, comparison = compared(
        trunk,
        {"mse": {"layers": {0: 0, 2: 3}, "weight": 2}, "cosine": {"layers": "last"}, "relation": {}},
        layers=2,
        hidden_size=16,
    )
    with torch.no_grad():
        student.projection.weight.normal_(generator=torch.Generator().manual_seed(0))
    found = losses_of(trunk, comparison, TEXTS)
    teacher, tokenizer = AutoModel.from_pretrained(tiny_trunk_dir).eval(), AutoTokenizer.from_pretrained(tiny_trunk_dir)
    squares, angles, relations = [[], []], [], []
    with torch.no_grad():
        for text in TEXTS:  # one by one, so that there is no padding
            one = tokenizer(text, return_tensors="pt")
            ours = student.model(**one, output_hidden_states=True).hidden_states
            theirs = teacher(**one, output_hidden_states=True).hidden_states
            for place, (own, other) in enumerate([(0, 0), (2, 3)]):
                for s, t in zip(ours[own][0], theirs[other][0], strict=True):
                    w = student.projection.weight @ s + student.projection.bias
                    squares[place] += [float(x) for x in (w - t) ** 2]
                    if place == 1:
                        angles.append(1 - float(w @ t / w.norm() / t.norm()))
            a, b = student.model.encoder.layer[1].attention.self, teacher.encoder.layer[2].attention.self
            pairs = [(a.query, b.query), (a.key, b.key), (a.value, b.value)]
            relations.append(sum(plain_relation(x(ours[1][0]), y(theirs[2][0]), 4) for x, y in pairs))
    assert found["mse"] == pytest.approx(sum(np.mean(part) for part in squares), abs=1e-5)
    assert found["cosine"] == pytest.approx(np.mean(angles), abs=1e-5)
    assert found["relation"] == pytest.approx(np.mean(relations), abs=1e-5)
    total = comparison.total({name: torch.tensor(loss) for name, loss in found.items()})
    assert float(total) == pytest.approx(2 * found["mse"] + found["cosine"] + found["relation"], abs=1e-5)


def test_the_maps_make_the_queries_of_a_real_pass(trunk):
    taken = {}
    query = trunk.model.encoder.layer[2].attention.self.query
    handle = query.register_forward_hook(lambda module, given, made: taken.update(made=made))
    try:
        with torch.no_grad():
            states = trunk.model(**trunk.collate(trunk.encode(TEXTS[:1]), [0]), output_hidden_states=True).hidden_states
    finally:
        handle.remove()
    _, comparison = compared(trunk, {"relation": {}}, layers=2)
    assert comparison.teacher_layers == (2,) and comparison.student_layers == (1,)
    assert torch.equal(comparison._others[3][0](states[2]), taken["made"])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 12), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_padding_does_not_change_the_losses(trunk, lengths, draw):
    texts = [" ".join(draw.choices(WORDS, k=length)) for length in lengths]
    _, comparison = compared(trunk, EVERY, layers=2)
    together = losses_of(trunk, comparison, texts)
    alone = [losses_of(trunk, comparison, [text]) for text in texts]
    tokens = trunk.encode(texts).lengths
    for name in ("mse", "cosine"):
        assert together[name] == pytest.approx(np.average([one[name] for one in alone], weights=tokens), abs=1e-5)
    assert together["relation"] == pytest.approx(np.mean([one["relation"] for one in alone]), abs=1e-5)


def test_layers_are_matched_as_in_tinybert():
    for teacher, student in ((12, 4), (12, 6), (6, 3), (6, 6)):
        block = teacher // student
        pairs = matched_layers(LossSection(), student, teacher, 0)
        assert pairs == tuple((i, i * block) for i in range(student + 1))  # general_distill.py, `new_teacher_reps`
        blocks = matched_layers(RelationSection(layers="all"), student, teacher, 1)
        assert blocks == tuple((i + 1, i * block + block) for i in range(student))  # `new_teacher_atts`
    assert matched_layers(LossSection(), 4, 6, 0) == ((0, 0), (1, 2), (2, 3), (3, 5), (4, 6))
    assert matched_layers(LossSection(layers="last"), 4, 6, 0) == ((4, 6),)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({"mse": {"layers": {3: 3}}}, "losses.mse.layers: found student's layer 3, expected 0 to 2"),
        ({"cosine": {"layers": {1: 4}}}, "losses.cosine.layers: found teacher's layer 4, expected 0 to 3"),
        ({"relation": {"layers": {0: 1}}}, "losses.relation.layers: found student's layer 0, expected 1 to 2"),
        ({"relation": {"heads": 5}}, "losses.relation.heads: found 5, expected a divisor of the width 32"),
    ],
)
def test_layers_and_heads_that_are_not_there_are_refused(trunk, losses, said):
    with pytest.raises(BadInput) as error:
        compared(trunk, losses, layers=2)
    assert str(error.value) == said


def test_relations_need_attention_that_reads_the_state_as_it_is(zoo):
    with pytest.raises(BadInput, match=r"losses.relation: found a trunk of the architecture gpt2, expected one of bert, "):
        compared(load_trunk(zoo("gpt2"), dtype="fp32", device="cpu"), {"relation": {}}, layers=2)
