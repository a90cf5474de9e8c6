"""Which tokens of a call are real, of a mask in any form that the library makes."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from transformers.masking_utils import create_causal_mask

from trunkline.errors import BadInput
from trunkline.model.attached.calls import Call

MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 0, 1]])
IDS = torch.arange(15).reshape(3, 5)


class Cache:
    def __init__(self, length):
        self.length = length

    def get_seq_length(self):
        return torch.tensor(self.length)


def test_a_call_without_a_mask_has_real_tokens_only():
    call = Call.read({"input_ids": IDS})
    assert call.real.shape == (3, 5) and call.real.all() and call.past == 0 and call.cache is None


@pytest.mark.parametrize("kind", [torch.long, torch.float, torch.bool])
def test_a_plain_mask(kind):
    assert torch.equal(Call.read({"input_ids": IDS, "attention_mask": MASK.to(kind)}).real, MASK.bool())
    cache = Cache(3)
    for width in (5, 9):  # of a cache that grows, and of a static one
        mask = torch.nn.functional.pad(MASK, (0, width - 5))
        call = Call.read({"input_ids": IDS[:, 3:], "attention_mask": mask, "past_key_values": cache})
        assert torch.equal(call.real, MASK[:, 3:].bool()) and call.past == 3 and call.cache is cache
    call = Call.read({"input_ids": IDS[:, 3:], "attention_mask": MASK[:, 3:], "past_key_values": cache})
    assert torch.equal(call.real, MASK[:, 3:].bool())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_librarys_own_masks_of_who_attends_to_whom(attention):
    config = hf.LlamaConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1, attn_implementation=attention)
    made = create_causal_mask(
        config=config, inputs_embeds=torch.zeros(3, 5, 8), attention_mask=MASK, past_key_values=None,
        position_ids=torch.arange(5)[None],
    )  # fmt: skip
    assert made.ndim == 4 and made.is_floating_point() == (attention == "eager")
    for mask in (made, {"full_attention": made}):
        assert torch.equal(Call.read({"inputs_embeds": torch.zeros(3, 5, 8), "attention_mask": mask}).real, MASK.bool())
    wider = torch.nn.functional.pad(made[:, :, 3:], (0, 4), value=0 if made.dtype == torch.bool else -1e9)
    call = Call.read({"input_ids": IDS[:, 3:], "attention_mask": wider, "past_key_values": Cache(3)})
    assert torch.equal(call.real, MASK[:, 3:].bool())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({}, "without input_ids or inputs_embeds"),
        ({"input_ids": IDS, "attention_mask": torch.ones(5)}, "one of 1 dimensions"),
        ({"input_ids": IDS, "attention_mask": object()}, "found object"),
        ({"input_ids": IDS, "attention_mask": torch.ones(3, 4)}, "found 4 tokens, expected 5"),
    ],
    ids=["nothing", "one dimension", "no tensor", "too short"],
)
def test_what_says_nothing_about_tokens_is_refused(call, said):
    with pytest.raises(BadInput, match=said):
        Call.read(call)
