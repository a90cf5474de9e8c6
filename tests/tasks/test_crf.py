"""The CRF against enumeration of all tag sequences, and against the pytorch-crf package."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.tasks.crf import CRF
from trunkline.tasks.token import rules
from trunkline.trunk import machine


def random_crf(size, seed, constrained=False):
    torch.manual_seed(seed)
    crf = CRF(size, *(rules((size - 1) // 2) if constrained else ()))
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return crf


def path_score(crf, emissions, tags):
    score = crf.start[tags[0]] + crf.end[tags[-1]] + sum(emissions[t, tag] for t, tag in enumerate(tags))
    return (score + sum(crf.transitions[a, b] for a, b in itertools.pairwise(tags))).item()


def legal(crf, tags, first):
    return (not first or bool(crf.first[tags[0]])) and all(bool(crf.allowed[a, b]) for a, b in itertools.pairwise(tags))


def enumerate_paths(crf, emissions, first):
    """Every legal tag sequence and its score; `first` says whether the rule for the first tag holds."""
    paths = [p for p in itertools.product(range(len(crf.start)), repeat=len(emissions)) if legal(crf, p, first)]
    return paths, torch.tensor([path_score(crf, emissions, p) for p in paths], dtype=torch.float64)


LENGTHS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(LENGTHS, st.sampled_from([(3, False), (3, True), (5, True), (4, False)]), st.integers(0, 1000))
def test_loss_is_that_of_enumeration(lengths, kind, seed):
    crf = random_crf(*kind[:1], seed, kind[1])
    emissions = torch.randn(sum(lengths), kind[0]) * 2
    groups = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    expected, gold = 0.0, []
    for chain in emissions.split(lengths):
        paths, scores = enumerate_paths(crf, chain, first=False)
        pick = int(torch.randint(len(paths), ()))
        gold += paths[pick]
        expected += float(torch.logsumexp(scores, 0) - scores[pick])
    loss = crf.nll(emissions, torch.tensor(gold), groups)
    assert loss.item() == pytest.approx(expected / sum(lengths), rel=1e-6, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=5),
    st.sampled_from([(3, False), (3, True), (5, True)]),
    st.integers(0, 1000),
)
def test_decoding_and_marginals_are_those_of_enumeration(lengths, kind, seed):
    crf = random_crf(*kind[:1], seed, kind[1])
    emissions = torch.randn(sum(lengths), kind[0]) * 2
    offsets = torch.tensor([0, *itertools.accumulate(lengths)])
    tags, scores = crf.decode(emissions, offsets)
    for chain, own, score in zip(emissions.split(lengths), tags.split(lengths), scores.split(lengths), strict=True):
        if len(chain) == 0:
            continue
        paths, values = enumerate_paths(crf, chain, first=True)
        assert tuple(own.tolist()) == paths[int(values.argmax())]
        probabilities = torch.softmax(values, 0)
        for t, tag in enumerate(own.tolist()):
            marginal = sum(float(p) for path, p in zip(paths, probabilities, strict=True) if path[t] == tag)
            assert float(score[t]) == pytest.approx(marginal, abs=1e-5)


def test_agrees_with_pytorch_crf_in_loss_gradients_and_best_path():
    reference = pytest.importorskip("torchcrf").CRF(7, batch_first=True)
    crf = random_crf(7, 3)
    lengths = torch.tensor([5, 1, 9, 3, 9, 2])
    emissions, tags = torch.randn(29, 7), torch.randint(7, (29,))
    with torch.no_grad():
        reference.start_transitions.copy_(crf.start)
        reference.end_transitions.copy_(crf.end)
        reference.transitions.copy_(crf.transitions)
    padded = torch.nn.utils.rnn.pad_sequence(emissions.split(lengths.tolist()), batch_first=True).requires_grad_()
    padded_tags = torch.nn.utils.rnn.pad_sequence(tags.split(lengths.tolist()), batch_first=True)
    mask = torch.arange(9)[None, :] < lengths[:, None]
    packed = emissions.clone().requires_grad_()
    groups = torch.repeat_interleave(torch.arange(6), lengths)
    loss, expected = crf.nll(packed, tags, groups), -reference(padded, padded_tags, mask=mask, reduction="token_mean")
    torch.testing.assert_close(loss.float(), expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(packed.grad, padded.grad[mask])
    torch.testing.assert_close(crf.transitions.grad, reference.transitions.grad)
    torch.testing.assert_close(crf.start.grad, reference.start_transitions.grad)
    torch.testing.assert_close(crf.end.grad, reference.end_transitions.grad)
    best, _ = crf.decode(emissions, torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]))
    assert [t.tolist() for t in best.split(lengths.tolist())] == reference.decode(padded, mask=mask)


def test_gradients_pass_a_numeric_check_with_rules():
    crf = random_crf(5, 1, constrained=True).double()
    tags, groups = torch.tensor([1, 2, 0, 4, 3]), torch.tensor([0, 0, 0, 1, 1])
    emissions = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e, *_: crf.nll(e, tags, groups), (emissions, *crf.parameters()))


def test_where_there_is_no_fp64_sums_are_in_fp32(monkeypatch):
    crf = random_crf(5, 1, constrained=True)
    emissions = torch.randn(9, 5)
    tags, groups, offsets = torch.tensor([1, 2, 0, 4, 3, 0, 0, 1, 2]), torch.tensor([0] * 4 + [1] * 5), torch.tensor([0, 4, 9])
    expected, (best, scores) = crf.nll(emissions, tags, groups), crf.decode(emissions, offsets)
    monkeypatch.setattr("trunkline.tasks.crf.widest", lambda device: machine.widest(torch.device("mps")))

    def refuse(tensor):
        raise TypeError("no fp64 here")

    monkeypatch.setattr(torch.Tensor, "double", refuse)
    found = crf.nll(emissions, tags, groups)
    found.backward()
    assert found.dtype == torch.float32 and found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert all(parameter.grad.isfinite().all() for parameter in crf.parameters())
    again, near = crf.decode(emissions, offsets)
    assert again.equal(best)
    torch.testing.assert_close(near, scores)


def test_a_forbidden_gold_step_begins_a_new_chain():
    # The B- between lies on a unit that had no sub-word: O, I-x is what is left of O, B-x, I-x.
    crf = random_crf(3, 0, constrained=True)
    emissions = torch.randn(4, 3)
    broken = crf.nll(emissions, torch.tensor([1, 0, 2, 2]), torch.zeros(4, dtype=torch.long))
    split = crf.nll(emissions, torch.tensor([1, 0, 2, 2]), torch.tensor([0, 0, 1, 1]))
    assert broken.item() == split.item() < 20


def test_what_is_decoded_keeps_the_rules_even_where_every_emission_is_against_them():
    crf = random_crf(5, 2, constrained=True)
    emissions = torch.zeros(2000, 5)
    emissions[:, [2, 4]] = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) * 40  # I-x and I-y in turn
    tags, scores = crf.decode(emissions, torch.tensor([0, 700, 700, 2000]))
    for own in (tags[:700].tolist(), tags[700:].tolist()):
        assert legal(crf, own, first=True)
    assert torch.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()


def test_extreme_emissions_give_a_finite_loss_and_gradient():
    crf = random_crf(5, 2, constrained=True)
    emissions = (torch.randn(50, 5) * 1e4).requires_grad_()
    loss = crf.nll(emissions, torch.tensor([1, 2, 2, 2, 0] * 10), torch.zeros(50, dtype=torch.long))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(emissions.grad).all() and torch.isfinite(crf.transitions.grad).all()


def test_mixed_precision_does_not_reach_the_sums():
    crf = random_crf(5, 2)
    emissions, tags, groups = torch.randn(20, 5).bfloat16(), torch.randint(5, (20,)), torch.arange(20) // 7
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = crf.nll(emissions, tags, groups)
    assert mixed.dtype == torch.float64 and mixed.item() == crf.nll(emissions.float(), tags, groups).item()


def test_a_long_chain_decodes_as_its_pieces_do_where_a_certain_tag_parts_them():
    crf = random_crf(5, 4, constrained=True)
    emissions = torch.randn(3000, 5)
    emissions[::10, 0] = 1e4  # certainly O: what lies before and behind it does not depend on each other
    whole, _ = crf.decode(emissions, torch.tensor([0, 3000]))
    for at in range(0, 2990, 10):
        own, _ = crf.decode(emissions[at : at + 11], torch.tensor([0, 11]))
        assert own.tolist() == whole[at : at + 11].tolist()
