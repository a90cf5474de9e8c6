"""Branches that answer from another precision or backend than in training: refused, or checked, merged, or left as they are."""

from __future__ import annotations

import re

import pytest
import torch
from tasktools import corpus_of, fitted
from tiny import WORDS

from trunkline.branches import methods
from trunkline.errors import BadInput
from trunkline.model import precision
from trunkline.model.approach import approach_of
from trunkline.model.branch import Branch, save_branch
from trunkline.model.bundle import Bundle
from trunkline.model.precision import Sample
from trunkline.model.trunk_ref import TrunkRef
from trunkline.trunk.load import load_trunk

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

TEXTS = [" ".join(WORDS[i : i + 6]) for i in range(40)]
GIVEN = [f"{text} {word}" for text in TEXTS for word in WORDS[:2]]


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_trunk_dir):
    """saved(name, method, precision) -> the folder of a branch with random weights."""
    trunk, root = load_trunk(tiny_trunk_dir, dtype="fp32", device="cpu"), tmp_path_factory.mktemp("branches")
    bf16 = load_trunk(tiny_trunk_dir, dtype="bf16", device="cpu")

    def make(name, method, dtype="fp32", **config):
        if not (root / name).exists():
            task = fitted("sequence", corpus_of(label=["a", "b", "c"]), label="label")
            task.name = name
            section = methods.get(method).Config(name=method, **config)
            own = bf16 if dtype == "bf16" and method == "probe" else trunk
            ref = TrunkRef.of(own)
            source, parts = approach_of(section).make(lambda: trunk, ref.shape, section, {name: task}, dtype)
            part = parts[name]
            torch.manual_seed(0)
            with torch.no_grad():
                for parameter in (*source.own().values(), *part.branch.parameters()):
                    parameter.add_(torch.randn_like(parameter) * 0.1)
            branch = Branch(task, section, part.branch.eval(), part.criterion, ref, 32, dtype, source=source.eval())
            save_branch(branch, root / name)
        return root / name

    return make


def shares(bundle, name):
    return torch.tensor(bundle.predict_proba(TEXTS)[name])


def test_another_precision_is_refused_in_one_sentence(saved):
    for given in ({"dtype": "bf16"}, {"dtype": "int8"}, {"dtype": "int8", "backend": "openvino"}):
        with pytest.raises(
            BadInput, match=rf"plain was trained on states in fp32, and {given['dtype']} was requested.*--allow"
        ):
            Bundle.open(saved("plain", "probe"), device="cpu", **given)
    with pytest.raises(BadInput, match="merged was trained on states in fp32, and int8 was requested"):
        Bundle.open(saved("merged", "lora"), device="cpu", dtype="int8")
    bundle = Bundle.open(saved("narrow", "probe", "bf16"), device="cpu", dtype="bf16")  # as in training
    assert (bundle.trunk.dtype, bundle.findings) == ("bf16", ())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dtype": "int4"}, "dtype: unknown name 'int4'.*int8"),
        ({"dtype": "int8", "backend": "torch"}, "dtype: 'int8': backend torch has fp32, bf16"),
        ({"dtype": "bf16", "backend": "onnx"}, "dtype: 'bf16': backend onnx has fp32"),
        ({"dtype": "fp32", "backend": "onx"}, "backend: unknown name 'onx'"),
    ],
)
def test_a_precision_that_is_not_there_is_named(saved, given, message):
    with pytest.raises(BadInput, match=message):
        Bundle.open(saved("plain", "probe"), device="cpu", allow_precision_change=True, **given)


def read_by(bundle):
    """By branch, what its trunk is computed in, and what it computes in itself."""
    return {name: (one.trunk.dtype, one.trunk.backend, one.precision) for one in bundle.plan.passes for name in one.branches}


@pytest.mark.filterwarnings("ignore:narrow was trained on bf16")
@pytest.mark.parametrize(
    ("given", "wide", "narrow", "trunks"),
    [
        ({}, "torch", ("bf16", "torch", "bf16"), 2),
        ({"backend": "torch", "dtype": "fp32", "allow_precision_change": GIVEN}, "torch", ("fp32", "torch", "fp32"), 1),
        ({"backend": "onnx"}, "onnx", None, 0),
        ({"backend": "onnx", "allow_precision_change": GIVEN}, "onnx", ("fp32", "onnx", "fp32"), 2),
        ({"backend": "openvino"}, "openvino", ("bf16", "openvino", "bf16"), 3),
    ],
)
def test_what_branches_answer_from_does_not_depend_on_their_order(saved, given, wide, narrow, trunks):
    paths, found = [saved("plain", "probe"), saved("narrow", "probe", "bf16"), saved("merged", "lora")], []
    for some in (paths, paths[::-1]):
        if narrow is None:
            with pytest.raises(BadInput, match="narrow was trained on states in bf16, which backend onnx does not have"):
                Bundle.open(some, device="cpu", **given)
            continue
        bundle = Bundle.open(some, device="cpu", **given)
        before = {"plain": ("fp32", wide, "fp32"), "merged": ("fp32", wide, "fp32"), "narrow": narrow}
        assert read_by(bundle) == before
        assert [one.split()[0] for one in bundle.findings] == ["narrow"] * (narrow[0] == "fp32")
        frozen = {one.trunk for one in bundle.plan.passes if one.source.trunk is None}
        assert len(frozen) == trunks  # what can be in one pass is
        if not bundle.findings:  # one that is added is answered from the same
            for name in before:
                bundle.add(name, bundle.remove(name))
            assert read_by(bundle) == before and not bundle.findings
        found.append(bundle.predict(TEXTS[:2]))
    assert not found or found[0] == found[1]


def test_an_added_branch_that_cannot_be_compiled_is_reported(saved):
    bundle = Bundle.open(saved("plain", "probe"), device="cpu", backend="onnx")
    for name, method, dtype in (("bottleneck", "adapter", "fp32"), ("half", "lora", "bf16")):
        bundle.add(name, Bundle.open(saved(name, method, dtype), device="cpu").branches[name])
        assert read_by(bundle)[name][1] == "torch" and bundle.findings[-1].startswith(f"{name} stays on torch: ")


def test_what_is_allowed_is_checked_on_texts_and_reported(saved):
    own, wider = Bundle.open(saved("narrow", "probe", "bf16"), device="cpu"), None
    with pytest.warns(UserWarning, match="narrow was trained on bf16"):
        wider = Bundle.open(saved("narrow", "probe", "bf16"), device="cpu", backend="onnx", allow_precision_change=GIVEN)
    assert (own.trunk.dtype, wider.trunk.dtype, wider.trunk.backend) == ("bf16", "fp32", "onnx")
    # The numbers of the finding, from the predictions themselves.
    before, after = (torch.tensor(bundle.predict_proba(GIVEN)["narrow"]) for bundle in (own, wider))
    same, largest = int((before.argmax(1) == after.argmax(1)).sum()), float((before - after).abs().max())
    assert 0 < largest < 0.1
    [sentence] = wider.findings
    assert sentence == (
        f"narrow was trained on bf16 (torch) and answers from fp32 (onnx): on 80 of the given texts, {same} of 80 predictions "
        f"are the same ({100 * same / 80:.1f} %), and no score differs by more than {largest:.3f}"
    )
    assert wider.only("narrow").predict(TEXTS) == wider.predict(TEXTS)
    # What is added later reads the trunk that it was trained on.
    wider.add("later", Bundle.open(saved("later", "probe", "bf16"), device="cpu").branches["later"])
    used = {name: (one.trunk.dtype, one.trunk.backend) for one in wider._plan.passes for name in one.branches}
    assert used == {"narrow": ("fp32", "onnx"), "later": ("bf16", "torch")}
    for replaced, read in (("later", ("fp32", "onnx")), ("narrow", ("bf16", "torch"))):  # others read what they did before
        wider.replace(replaced, wider.branches["later"])
        [(dtype, backend)] = {
            (one.trunk.dtype, one.trunk.backend) for one in wider._plan.passes for name in one.branches if name == "narrow"
        }
        assert (dtype, backend) == read


@pytest.mark.parametrize("given", [{"dtype": "fp32"}, {"backend": "onnx"}])
def test_in_fp32_the_answer_to_a_text_does_not_depend_on_the_texts_beside_it(saved, given):
    with pytest.warns(UserWarning, match="narrow was trained on bf16"):
        bundle = Bundle.open(saved("narrow", "probe", "bf16"), device="cpu", allow_precision_change=GIVEN, **given)
    assert [one.precision for one in bundle.plan.passes] == ["fp32"]
    alone = torch.stack([torch.tensor(bundle.predict_proba([text])["narrow"])[0] for text in TEXTS])
    assert float((alone - shares(bundle, "narrow")).abs().max()) < 1e-5
    bundle.replace("narrow", bundle.branches["narrow"])  # which is then as it was trained
    assert [one.precision for one in bundle.plan.passes] == ["bf16"]
    assert float((alone - shares(bundle, "narrow")).abs().max()) > 1e-4


def test_int8_is_calibrated_on_the_sample(saved, monkeypatch):
    monkeypatch.setattr(precision, "SAMPLE", 8)
    with pytest.warns(
        UserWarning, match=r"plain was trained on fp32 \(torch\) and answers from int8 \(openvino\): on 8 texts of"
    ):
        bundle = Bundle.open(saved("plain", "probe"), device="cpu", dtype="int8", allow_precision_change=True)
    assert bundle.trunk.dtype == "int8" and bundle.trunk.compiled.ranges
    plain = Bundle.open(saved("plain", "probe"), device="cpu")
    torch.testing.assert_close(shares(bundle, "plain"), shares(plain, "plain"), atol=0.2, rtol=0)
    assert not torch.equal(shares(bundle, "plain"), shares(plain, "plain"))


def test_a_sample_is_of_the_given_texts_or_of_the_embedded_data():
    assert Sample.of([*GIVEN, "", " ", None]) == Sample(GIVEN, f"{len(GIVEN)} of the given texts")
    assert len(Sample.of(GIVEN * 9).texts) == precision.SAMPLE
    few, again = Sample.of(["one", "two"]), Sample.of(True)
    assert few == again
    assert "300 texts of the embedded data set snips" in few.source
    assert len(set(few.texts)) > 250


@pytest.mark.parametrize(
    ("name", "method", "config"), [("merged", "lora", {}), ("whole", "full", {}), ("biases", "bitfit", {})]
)
def test_a_tuned_branch_is_merged_and_compiled(saved, name, method, config):
    plain = Bundle.open(saved(name, method, **config), device="cpu")
    for backend in ("onnx", "openvino") if name == "merged" else ("onnx",):
        bundle = Bundle.open(saved(name, method, **config), device="cpu", backend=backend)
        [one] = bundle._plan.passes
        assert (one.trunk.backend, bundle.findings) == (backend, ())
        torch.testing.assert_close(shares(bundle, name), shares(plain, name), atol=1e-4, rtol=1e-4)
    frozen = Bundle.open(saved("plain", "probe"), device="cpu")
    assert one.trunk.fingerprint.weights != frozen.trunk.fingerprint.weights


def test_what_cannot_be_merged_stays_on_torch_with_a_reason(saved):
    paths = [saved("bottleneck", "adapter"), saved("virtual", "prompt"), saved("merged", "lora"), saved("plain", "probe")]
    with pytest.warns(UserWarning, match="stays on torch"):
        bundle = Bundle.open(paths, device="cpu", backend="onnx")
    assert len(bundle.findings) == 2
    for name, method, sentence in zip(("bottleneck", "virtual"), ("adapter", "prompt"), bundle.findings, strict=True):
        assert re.match(rf"{name} stays on torch: method {method}: cannot be merged", sentence)
    used = {name: one.trunk.backend for one in bundle._plan.passes for name in one.branches}
    assert used == {"bottleneck": "torch", "virtual": "torch", "merged": "onnx", "plain": "onnx"}
    for path, name in zip(paths, used, strict=True):
        torch.testing.assert_close(shares(bundle, name), shares(Bundle.open(path, device="cpu"), name), atol=1e-4, rtol=1e-4)


def test_a_tuned_branch_in_bf16_stays_on_torch_where_a_backend_has_no_bf16(saved):
    with pytest.warns(UserWarning, match="half stays on torch: it was trained in bf16, which backend onnx does not have"):
        bundle = Bundle.open(saved("half", "lora", "bf16"), device="cpu", backend="onnx")
    assert [one.trunk.backend for one in bundle._plan.passes] == ["torch"]
    with pytest.warns(
        UserWarning, match=r"half was trained on bf16 \(torch\) and answers from fp32 \(onnx\): on 80 of the given"
    ):
        bundle = Bundle.open(saved("half", "lora", "bf16"), device="cpu", backend="onnx", allow_precision_change=GIVEN)
    assert [one.trunk.backend for one in bundle._plan.passes] == ["onnx"]
