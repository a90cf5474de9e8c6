"""A causal language model continues requests, and two branches say, token by token, what its layers hold of their meaning.

    python examples/probe_while_generating.py [FOLDER]

Everything is made here, in about two minutes on 2 cores and without a network: a tiny GPT-2 learns to write spoken requests
(of the embedded SNIPS); two branches learn intent and slots from its frozen layers; then it generates with both attached, and
what they say of each token is read while generation streams. The script proves that the model's outputs and their scores are,
bit for bit, those of the model alone.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from snips_models import BEGIN, END, PAD, make_tokenizer, prove, requests_of, save, tell_scores, train_branches, train_model

import trunkline

STEPS, BATCH, EPOCHS = 500, 32, 5  # of the model, and of its branches
PROMPTS = ["find", "add this", "book a"]


def make_model(folder: Path, steps: int = STEPS) -> None:
    """Train a tiny GPT-2 to write requests, and save it with its tokenizer."""
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from transformers import GPT2Config, GPT2LMHeadModel

    texts = [" ".join(words) for words, _ in requests_of("snips")]
    # Nothing stands behind a text, so that a prompt is the beginning of one; what ends a text is learned with it.
    tokenizer = make_tokenizer(texts, "<s> $A", padding_side="left")
    torch.manual_seed(0)
    sizes = {"n_embd": 96, "n_layer": 4, "n_head": 4, "n_positions": 64}
    named = {"bos_token_id": BEGIN, "pad_token_id": PAD, "eos_token_id": END}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, **named))
    rows = [torch.tensor([*ids[:63], END]) for ids in tokenizer(texts)["input_ids"]]

    def batch() -> dict[str, Any]:
        chosen = [rows[i] for i in torch.randint(len(rows), (BATCH,)).tolist()]
        ids = pad_sequence(chosen, batch_first=True, padding_value=PAD)
        return {"input_ids": ids, "attention_mask": (ids != PAD).long(), "labels": ids.masked_fill(ids == PAD, -100)}

    first, last = train_model(model, batch, steps)
    print(f"perplexity of requests: {math.exp(first):.0f} at first, {math.exp(last):.1f} in the end")
    save(model, tokenizer, folder)


def watch(model: Any, tokenizer: Any, branches: Any, prompt: str) -> None:
    """Continue a prompt, and print what the branches say as each token is read: the intent so far, and the token's own slot."""
    import torch

    inputs = tokenizer([prompt], return_tensors="pt")
    settings = {"max_new_tokens": 12, "do_sample": False, "suppress_tokens": [tokenizer.unk_token_id]}
    alone = model.generate(**inputs, **settings)
    print(f"\n{'token':14} {'intent so far':28} slot")
    with trunkline.attach(model, branches) as taps:
        for step in taps.stream(model.generate, **inputs, **settings):
            intent, tokens = step["intent"][0], step["slots"][0]
            for place, (token, tag) in enumerate(zip(step.ids[0].tolist(), tokens, strict=True)):
                if token == BEGIN:
                    continue
                said = f"{intent['label']} ({intent['score']:.2f})" if place == len(tokens) - 1 else ""
                print(f"{tokenizer.decode([token]):14} {said:28} {tag['label']}")
    assert torch.equal(taps.result, alone)
    print(f"written: {tokenizer.decode(taps.result[0], skip_special_tokens=True)}")


def generate_with_branches(folder: Path, branches: Any) -> None:
    """Generate alone and with branches, compare, and watch a generation of each prompt."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    ways = ({"do_sample": True}, {"num_beams": 4}, {"cache_implementation": "static"}, {"do_sample": False})
    prove(model, inputs, branches, ways)
    for prompt in PROMPTS:
        watch(model, tokenizer, branches, prompt)


def main(folder: Path, steps: int = STEPS, epochs: int = EPOCHS, rows: int | None = None) -> None:
    started = time.perf_counter()
    make_model(folder / "model", steps)
    print(f"the model is made ({time.perf_counter() - started:.0f} s)")
    run = train_branches(folder / "model", folder / "run", epochs, rows)
    tell_scores(run)
    generate_with_branches(folder / "model", run)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
