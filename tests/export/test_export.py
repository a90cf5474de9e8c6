"""What is exported, loaded by the libraries that it is for: the same answers, in batches too, and the labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from peft import PeftModel
from tiny_zoo import build, tokenizer_of
from tunertools import randomise

from trunkline.branches.fold import LayerState, Output, methods
from trunkline.errors import BadInput, TrunklineError
from trunkline.export.peft import save_adapter
from trunkline.export.transformers import save_model
from trunkline.inputs.batching import Layout
from trunkline.model.apply import autocast
from trunkline.trunk.load import Trunk, load_trunk
from trunkline.tuners import TunedTrunk
from trunkline.tuners.plain import PlainHead
from trunkline.tuners.states import TunedStates

TEXTS = ["the film was good", "a", "i feel so happy today"]
LABELS = ["sad", "glad", "calm"]
AUTO = {"text": hf.AutoModelForSequenceClassification, "unit": hf.AutoModelForTokenClassification}


def learned(
    zoo: Callable[[str], Path], name: str, level: str, method: str, /, stack: str = "encoder", precision: str = "fp32", **config
) -> tuple[Trunk, TunedTrunk, PlainHead]:
    """A trunk that `method` has changed, with weights off their start, and its head."""
    trunk = load_trunk(zoo(name), dtype="fp32", device="cpu", stack=stack)
    torch.manual_seed(0)
    head = PlainHead(trunk.model.config, Output(level, len(LABELS)), trunk.folder, stack=stack)
    kind = methods.get(method)
    tuned = TunedTrunk(trunk, kind(kind.Config(name=method, **config)), precision, head.pooler)
    head.bind(tuned.model)
    randomise(tuned.model, 0.05)
    randomise(head)
    return trunk, tuned.eval(), head.eval()


@torch.no_grad()
def answers(trunk: Trunk, tuned: TunedTrunk, head: PlainHead) -> torch.Tensor:
    """Logits as Trunkline makes them, of all texts in one batch."""
    encoded, found = trunk.encode(TEXTS), {}
    TunedStates(tuned, encoded).feed(np.arange(3), head.layers, found.__setitem__)
    layout = Layout(torch.as_tensor(encoded.lengths))
    with autocast(tuned.device, tuned.precision):
        return head.finish(head.read(None, head.layers[0], LayerState(found[head.layers[0]])), layout)


@torch.no_grad()
def theirs(model: torch.nn.Module, tokenizer, level: str) -> torch.Tensor:
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False)
    logits = model.eval()(**batch).logits
    return logits if level == "text" else logits[batch["attention_mask"].bool()]


@pytest.mark.parametrize("level", ["text", "unit"])
@pytest.mark.parametrize(
    "name", ["bert", "albert", "roberta", "distilbert", "deberta-v2", "modernbert", "gpt2", "llama", "qwen2"]
)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_is_loaded_by_transformers(zoo, tmp_path, method, name, level):
    trunk, tuned, head = learned(zoo, name, level, method)
    before = answers(trunk, tuned, head)
    out = tmp_path / "out"
    save_model(trunk, tuned, head, LABELS, out)
    model = AUTO[level].from_pretrained(out)
    assert model.config.id2label == dict(enumerate(LABELS))
    assert next(model.parameters()).dtype == torch.float32
    torch.testing.assert_close(theirs(model, hf.AutoTokenizer.from_pretrained(out), level), before, rtol=1e-4, atol=1e-4)
    assert torch.equal(answers(trunk, tuned, head), before)  # what was exported is as it was
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("level", ["text", "unit"])
def test_a_pipeline_runs(zoo, tmp_path, level):
    trunk, tuned, head = learned(zoo, "bert", level, "bitfit")
    save_model(trunk, tuned, head, LABELS, tmp_path / "out")
    task = "text-classification" if level == "text" else "token-classification"
    found = hf.pipeline(task, model=str(tmp_path / "out"), device="cpu")(TEXTS)
    best = answers(trunk, tuned, head).argmax(-1)
    if level == "text":
        assert [each["label"] for each in found] == [LABELS[i] for i in best]
    else:
        lengths = trunk.encode(TEXTS).lengths
        inner = [part[1:-1] for part in best.split(lengths.tolist())]  # a pipeline leaves out what is no word
        assert [[each["entity"] for each in text] for text in found] == [[LABELS[i] for i in part] for part in inner]


@pytest.mark.parametrize("name", ["bart", "mbart", "t5"])
def test_a_decoder_is_loaded_by_transformers(zoo, tmp_path, name):
    trunk, tuned, head = learned(zoo, name, "text", "layernorm", stack="decoder")
    save_model(trunk, tuned, head, LABELS, tmp_path / "out")
    model, tokenizer = AUTO["text"].from_pretrained(tmp_path / "out"), hf.AutoTokenizer.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(theirs(model, tokenizer, "text"), answers(trunk, tuned, head), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", ["text", "unit"])
@pytest.mark.parametrize("name", ["bert", "albert", "roberta", "distilbert", "deberta-v2", "modernbert", "gpt2", "llama"])
@pytest.mark.parametrize(
    ("method", "config"),
    [("lora", {}), ("lora", {"targets": "qkv", "bias": "all"}), ("ia3", {}), ("peft", {"method": "VERA"})],
)
def test_an_adapter_is_loaded_by_peft(zoo, tmp_path, method, config, name, level):
    trunk, tuned, head = learned(zoo, name, level, method, **config)
    before = answers(trunk, tuned, head)
    out = tmp_path / "out"
    save_adapter(trunk, tuned, head, LABELS, out)
    assert (out / "adapter_model.safetensors").is_file()
    tokenizer = hf.AutoTokenizer.from_pretrained(out)
    base = AUTO[level].from_pretrained(trunk.folder, num_labels=3, dtype=torch.float32)
    if tokenizer.pad_token is None:
        tokenizer.pad_token, base.config.pad_token_id = tokenizer.convert_ids_to_tokens(0), 0
    model = PeftModel.from_pretrained(base, out)
    torch.testing.assert_close(theirs(model, tokenizer, level), before, rtol=1e-4, atol=1e-4)
    described = json.loads((out / "adapter_config.json").read_text())
    assert described["task_type"] == ("SEQ_CLS" if level == "text" else "TOKEN_CLS")


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "electra", "llama"])
@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_what_stands_before_the_text_is_loaded_by_peft(zoo, tmp_path, method, name):
    trunk, tuned, head = learned(zoo, name, "unit", method, virtual_tokens=4)
    save_adapter(trunk, tuned, head, LABELS, tmp_path / "out")
    base = AUTO["unit"].from_pretrained(trunk.folder, num_labels=3, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    inputs = trunk.tokenizer(TEXTS[:1], return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        found = model(**inputs).logits[0, -inputs["input_ids"].shape[1] :]
    torch.testing.assert_close(found, answers(trunk, tuned, head)[: len(found)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["bert", "albert", "roberta", "electra", "distilbert", "deberta-v2", "mpnet", "modernbert"])
@pytest.mark.parametrize(
    ("method", "config"),
    [("prompt", {"virtual_tokens": 4}), ("peft", {"method": "P_TUNING", "parameters": {"num_virtual_tokens": 4}})],
)
def test_a_prompt_that_the_librarys_head_would_read_is_refused_before_anything_is_loaded(
    zoo, tmp_path, method, config, name, monkeypatch
):
    trunk, tuned, head = learned(zoo, name, "text", method, **config)
    monkeypatch.setattr("trunkline.export.peft.get_peft_model", lambda *args: pytest.fail("has begun"))
    with pytest.raises(BadInput, match=f"method {method}: the peft library's head would read the first virtual token"):
        save_adapter(trunk, tuned, head, LABELS, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    ("method", "name"),
    [*(("prefix", name) for name in ("bert", "roberta", "electra", "gpt2", "llama")), ("prompt", "gpt2"), ("prompt", "llama")],
)
def test_what_stands_before_whole_texts_is_loaded_by_peft(zoo, tmp_path, method, name):
    trunk, tuned, head = learned(zoo, name, "text", method, virtual_tokens=4)
    save_adapter(trunk, tuned, head, LABELS, tmp_path / "out")
    base = AUTO["text"].from_pretrained(trunk.folder, num_labels=3, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    inputs = trunk.tokenizer(TEXTS[:1], return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, answers(trunk, tuned, head)[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_was_trained_in_bf16_is_written_in_float32(zoo, tmp_path, method):
    trunk, tuned, head = learned(zoo, "bert", "text", method, precision="bf16")
    save_model(trunk, tuned, head, LABELS, tmp_path / "out")
    model = AUTO["text"].from_pretrained(tmp_path / "out")
    kept = "embeddings.word_embeddings.weight"
    if method == "lora":  # what was not trained is the trunk's own, to the last bit
        assert torch.equal(model.bert.get_parameter(kept), trunk.model.get_parameter(kept))
    torch.testing.assert_close(theirs(model, trunk.tokenizer, "text"), answers(trunk, tuned, head), rtol=0.1, atol=0.1)
    if method == "lora":
        save_adapter(trunk, tuned, head, LABELS, tmp_path / "adapter")


@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_what_was_trained_in_bf16_is_the_same_model_merged_or_not(zoo, tmp_path, method):
    trunk, tuned, head = learned(zoo, "bert", "text", method, precision="bf16")
    save_model(trunk, tuned, head, LABELS, tmp_path / "merged")
    save_adapter(trunk, tuned, head, LABELS, tmp_path / "adapter")
    merged = AUTO["text"].from_pretrained(tmp_path / "merged")
    base = AUTO["text"].from_pretrained(trunk.folder, num_labels=len(LABELS))
    apart = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(
        theirs(merged, trunk.tokenizer, "text"), theirs(apart, trunk.tokenizer, "text"), rtol=1e-5, atol=1e-5
    )


def test_a_pooler_that_the_trunk_lacks_goes_along(tmp_path):
    folder = tmp_path / "trunk"
    hf.BertModel(build("bert").config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer_of("bert").save_pretrained(folder)
    trunk = load_trunk(folder, dtype="fp32", device="cpu")
    head = PlainHead(trunk.model.config, Output("text", 3), trunk.folder)
    kind = methods.get("lora")
    tuned = TunedTrunk(trunk, kind(kind.Config(targets="linear")), "fp32", head.pooler)
    head.bind(tuned.model)
    randomise(tuned.model)
    tuned.eval()
    head.eval()
    save_adapter(trunk, tuned, head, LABELS, tmp_path / "out")
    base = AUTO["text"].from_pretrained(folder, num_labels=3)
    model = PeftModel.from_pretrained(base, tmp_path / "out")
    torch.testing.assert_close(theirs(model, trunk.tokenizer, "text"), answers(trunk, tuned, head), rtol=1e-4, atol=1e-4)


def test_the_model_card_tells_data_metrics_and_cost(zoo, tmp_path):
    trunk, tuned, head = learned(zoo, "bert", "text", "lora")
    facts = {
        "data": {"train": "emotion:train", "rows": 16000},
        "metrics": {"test": {"accuracy": 0.93125}},
        "cost": {"seconds": 12.0},
    }
    save_model(trunk, tuned, head, LABELS, tmp_path / "out", title="Emotion", facts=facts)
    card = (tmp_path / "out" / "README.md").read_text()
    for line in (
        "# Emotion",
        "pipeline_tag: text-classification",
        "| rows | 16000 |",
        "| test.accuracy | 0.9313 |",
        "| seconds | 12 |",
    ):
        assert line in card.splitlines()


@pytest.mark.parametrize(
    ("method", "level", "name", "save", "message"),
    [
        ("full", "text", "bert", save_adapter, "method full: is not a method of the peft library"),
        ("prompt", "text", "bert", save_model, "method prompt: cannot be merged"),
        ("full", "text", "t5", save_model, "transformers has no class for this head"),
    ],
)
def test_what_cannot_be_exported_is_refused(zoo, tmp_path, method, level, name, save, message):
    trunk, tuned, head = learned(zoo, name, level, method)
    with pytest.raises(BadInput, match=message):
        save(trunk, tuned, head, LABELS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_answers_differently_is_not_written(zoo, tmp_path, monkeypatch):
    trunk, tuned, head = learned(zoo, "bert", "text", "full")
    saved = hf.BertForSequenceClassification.save_pretrained

    def damaged(self, *args, **kwargs):
        with torch.no_grad():
            self.classifier.weight.add_(1.0)
        return saved(self, *args, **kwargs)

    monkeypatch.setattr(hf.BertForSequenceClassification, "save_pretrained", damaged)
    with pytest.raises(TrunklineError, match="outputs of the reloaded export differ"):
        save_model(trunk, tuned, head, LABELS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_must_fit_the_head(zoo, tmp_path):
    trunk, tuned, head = learned(zoo, "bert", "text", "full")
    with pytest.raises(BadInput, match="found 2 labels, expected 3"):
        save_model(trunk, tuned, head, LABELS[:2], tmp_path / "out")
