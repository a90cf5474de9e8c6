from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

SIDES = {"bert": "right", "gpt2": "right", "gpt2-left": "left", "llama": "left", "roberta": "right", "bart": "right"}


@pytest.mark.parametrize("name", SIDES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_batch_is_what_the_tokenizer_pads(tiny_trunk, name, data):
    trunk = tiny_trunk(name)
    words = st.lists(st.sampled_from("a film was great so bad paris weather".split()), min_size=1, max_size=8).map(" ".join)
    texts = data.draw(st.lists(words, min_size=1, max_size=6))
    encoded = trunk.encode(texts)
    chosen = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=6))
    batch = trunk.collate(encoded, np.array(chosen))
    expected = [trunk.tokenizer(texts[i])["input_ids"] for i in chosen]
    width = max(map(len, expected))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (len(chosen), width)
    for row, mask, ids in zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), expected, strict=True):
        real = slice(width - len(ids), None) if SIDES[name] == "left" else slice(0, len(ids))
        assert row[real] == ids and sum(row) - sum(ids) == trunk.pad_id * (width - len(ids))
        assert mask[real] == [1] * len(ids) and sum(mask) == len(ids)
    packed = np.concatenate([encoded.ids[encoded.offsets[i] : encoded.offsets[i + 1]] for i in chosen])
    assert batch["input_ids"][batch["attention_mask"].bool()].tolist() == packed.tolist()
    assert ("position_ids" in batch) == (SIDES[name] == "left")
    if "position_ids" in batch:
        counted = [p for ids in expected for p in range(len(ids))]
        assert batch["position_ids"][batch["attention_mask"].bool()].tolist() == counted
    assert all(value.dtype == torch.int64 and value.device == trunk.device for value in batch.values())


def test_pairs_bring_segments_where_the_model_has_them(tiny_trunk):
    bert = tiny_trunk("bert")
    batch = bert.collate(bert.encode(["a film", "so"], pairs=["was great", "a list of rain"]), [1, 0])
    expected = bert.tokenizer(["so", "a film"], ["a list of rain", "was great"], padding=True)
    assert {key: value.tolist() for key, value in batch.items()} == {key: expected[key] for key in batch}
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids"}
    roberta = tiny_trunk("roberta")
    assert "token_type_ids" not in roberta.collate(roberta.encode(["a film"], pairs=["was great"]), [0])
    assert "token_type_ids" not in bert.collate(bert.encode(["a film"]), [0])


@pytest.mark.parametrize(("name", "stack"), [("bart", "encoder"), ("t5", "decoder")])
def test_models_that_bear_no_padding_on_the_left_are_padded_on_the_right(tmp_path, name, stack):
    from tiny_zoo import make
    from transformers import AutoTokenizer

    from trunkline.trunk.load import load_trunk

    make(tmp_path, name)
    AutoTokenizer.from_pretrained(tmp_path, padding_side="left").save_pretrained(tmp_path)
    trunk = load_trunk(tmp_path, stack=stack, dtype="fp32", device="cpu")
    assert trunk.tokenizer.padding_side == "left"
    assert trunk.collate(trunk.encode(["so", "a film was great"]), [0, 1])["attention_mask"][0].tolist()[0] == 1


@pytest.mark.parametrize(("name", "pad"), [("gpt2", 0), ("llama", 2), ("bert", 0), ("roberta", 1)])
def test_the_end_token_stands_in_for_a_missing_pad(tiny_trunk, name, pad):
    trunk = tiny_trunk(name)
    assert trunk.pad_id == pad
    assert (trunk.tokenizer.pad_token_id is None) == (name in ("gpt2", "llama"))


def test_no_sequences_make_an_empty_batch(tiny_trunk):
    trunk = tiny_trunk("bert")
    assert trunk.collate(trunk.encode(["so"]), [])["input_ids"].shape == (0, 1)
