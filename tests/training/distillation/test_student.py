"""What a student begins as: chosen blocks of its teacher, in every architecture with one stack of blocks."""

from __future__ import annotations

import pytest
import torch
from studenttools import EVERY, LAST, compared, losses_of
from tiny_zoo import BOTH, MODELS

from trunkline.errors import BadInput
from trunkline.training.distillation.config import StudentSection
from trunkline.training.distillation.student import chosen_blocks, make_student
from trunkline.trunk.load import load_trunk

TEXTS = ["the film was great", "play a slow song for two in paris"]
ONE_STACK = sorted(name for name in MODELS if name not in BOTH and not name.startswith("albert"))  # whose blocks share weights
QUICK = ("bert", "distilbert")


@pytest.fixture(scope="module")
def trunk(tiny_trunk_dir):
    return load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu")


def test_a_number_spreads_blocks_from_the_first_to_the_last():
    assert chosen_blocks(6, 12) == [block + 1 for block in [0, 2, 4, 7, 9, 11]]  # DistilBERT's extract_distilbert.py
    assert [chosen_blocks(count, 6) for count in (1, 2, 6)] == [[6], [1, 6], [1, 2, 3, 4, 5, 6]]
    assert chosen_blocks([2, 5], 6) == [2, 5]


def test_with_all_blocks_it_is_its_teacher_and_its_losses_are_zero(trunk):
    student, comparison = compared(trunk, EVERY, layers=3)
    assert losses_of(trunk, comparison, TEXTS) == pytest.approx({"mse": 0, "cosine": 0, "relation": 0}, abs=1e-6)
    inputs = trunk.collate(trunk.encode(TEXTS), [0, 1])
    with torch.no_grad():
        assert torch.equal(student.model(**inputs).last_hidden_state, trunk.model(**inputs).last_hidden_state)


def test_its_blocks_and_embeddings_are_copies_of_those_that_were_chosen(trunk):
    student = make_student(trunk, StudentSection(layers=[1, 3]), 0)
    theirs, ours = trunk.model.state_dict(), student.model.state_dict()
    for name, value in ours.items():
        origin = name.replace("encoder.layer.1.", "encoder.layer.2.")
        assert torch.equal(value, theirs[origin]) and value.data_ptr() != theirs[origin].data_ptr()
    assert len(ours) == len(theirs) * 2 // 3 + 2  # 5 tensors of embeddings, and 16 of each block
    assert all(not p.requires_grad for p in trunk.model.parameters()) and all(p.requires_grad for p in student.parameters())


def test_a_narrower_one_begins_as_the_first_rows_and_columns_and_is_projected(trunk):
    student, comparison = compared(trunk, LAST, layers=2, hidden_size=16)
    theirs = trunk.model.state_dict()["encoder.layer.2.intermediate.dense.weight"]
    assert torch.equal(student.model.state_dict()["encoder.layer.1.intermediate.dense.weight"], theirs[:32, :16])
    assert student.projection.weight.shape == (32, 16) and student.model.config.num_attention_heads == 4
    assert all(loss > 0 for loss in losses_of(trunk, comparison, TEXTS).values())


def test_random_weights_depend_on_the_seed_alone(trunk):
    first, again, other = (
        make_student(trunk, StudentSection(layers=2, weights="random"), seed).model.encoder.layer[0].output.dense.weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in ONE_STACK])
def test_every_architecture_of_one_stack_has_students_that_load_again(zoo, name, tmp_path):
    trunk = load_trunk(zoo(name), dtype="fp32", device="cpu")
    student, comparison = compared(trunk, {"mse": {}}, layers=trunk.num_layers)
    assert losses_of(trunk, comparison, TEXTS)["mse"] == pytest.approx(0, abs=1e-6)
    try:
        student = make_student(trunk, StudentSection(layers=[1, trunk.num_layers]), 0)
    except BadInput as error:  # modernbert's first block has no norm, others' do
        assert name == "modernbert" and "student.layers" in str(error)
        return
    student.model.save_pretrained(tmp_path)
    trunk.tokenizer.save_pretrained(tmp_path)
    loaded = load_trunk(tmp_path, dtype="fp32", device="cpu")
    inputs = trunk.collate(trunk.encode(TEXTS), [0, 1])
    with torch.no_grad():
        ours, theirs = (m(**inputs, **trunk.call_options).last_hidden_state for m in (student.model, loaded.model))
    assert loaded.num_layers == 2 and torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["bart", "albert"])
def test_no_student_is_made_of_these(zoo, name):
    with pytest.raises(BadInput, match=r"trunk '.*': (bart has an encoder and a decoder|albert has blocks that share)"):
        make_student(load_trunk(zoo(name), dtype="fp32", device="cpu"), StudentSection(layers=1), 0)


@pytest.mark.parametrize(
    ("student", "said"),
    [
        ({"layers": 4}, "student.layers: found 4, expected at most 3, the blocks of the teacher"),
        ({"layers": [1, 9]}, "student.layers: found 9, expected blocks from 1 to 3, the blocks of the teacher"),
        ({"layers": 1, "hidden_size": 18}, "student.hidden_size: found 18, expected a multiple of its 4 attention heads"),
        ({"layers": 1, "hidden_size": 64}, "student.hidden_size: found 64, expected a multiple of its 4 attention heads"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(trunk, student, said):
    with pytest.raises(BadInput) as error:
        make_student(trunk, StudentSection(**student), 0)
    assert str(error.value).startswith(said)
