"""A sequence-to-sequence model writes what is asked for, and on its pass two branches tell the intent and the slots.

    python examples/attach_while_generating.py [FOLDER]

Everything is made here, in about two minutes on 2 cores and without a network: a tiny mBART learns to write, in a few words,
what spoken requests ask for (of the embedded SNIPS); two branches learn intent and slots from its frozen encoder; then it
generates with both attached, and the script proves that its outputs and their scores are, bit for bit, those of the model
alone.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from snips_models import PAD, make_tokenizer, prove, requests_of, save, tell_scores, train_branches, train_model

STEPS, BATCH, EPOCHS = 400, 32, 6  # of the model, and of its branches


def make_model(folder: Path, steps: int = STEPS) -> None:
    """Train a tiny mBART to write what is asked for, such as "add to playlist", and save it with its tokenizer."""
    import torch
    from transformers import MBartConfig, MBartForConditionalGeneration

    rows = [(" ".join(words), re.sub("(?<=.)([A-Z])", r" \1", intent).lower()) for words, intent in requests_of("snips")]
    tokenizer = make_tokenizer([text for row in rows for text in row], "<s> $A </s>")
    torch.manual_seed(0)
    sizes = {"d_model": 96, "encoder_layers": 3, "decoder_layers": 2, "encoder_ffn_dim": 192, "decoder_ffn_dim": 192}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 64}
    begin = {"decoder_start_token_id": 2, "forced_eos_token_id": None}
    model = MBartForConditionalGeneration(MBartConfig(vocab_size=len(tokenizer), **begin, **sizes, **heads))

    def batch() -> dict[str, Any]:
        chosen = [rows[i] for i in torch.randint(len(rows), (BATCH,)).tolist()]
        inputs = tokenizer([text for text, _ in chosen], padding=True, return_tensors="pt")
        labels = tokenizer([target for _, target in chosen], padding=True, return_tensors="pt")["input_ids"][:, 1:]
        return {**inputs, "labels": labels.masked_fill(labels == PAD, -100)}

    train_model(model, batch, steps)
    save(model, tokenizer, folder)


def generate_with_branches(folder: Path, branches: Any, texts: list[str]) -> None:
    """Generate alone and with branches, compare, and print what both say."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    ways = ({"do_sample": True}, {"num_beams": 4}, {"do_sample": False})
    output, taps = prove(model, inputs, branches, ways, tokenizer=tokenizer, texts=texts)
    written = tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
    for text, target, intent, slots in zip(texts, written, taps["intent"], taps["slots"], strict=True):
        spans = ", ".join(f"{span['text']} ({span['label']})" for span in slots["spans"])
        print(f"\n{text}\n  written: {target}\n  intent:  {intent['label']} ({intent['score']:.2f})")
        print(f"  slots:   {spans or 'none'}")


def main(folder: Path, steps: int = STEPS, epochs: int = EPOCHS, rows: int | None = None) -> None:
    started = time.perf_counter()
    make_model(folder / "model", steps)
    print(f"the model is made ({time.perf_counter() - started:.0f} s)")
    run = train_branches(folder / "model", folder / "run", epochs, rows)
    tell_scores(run)
    texts = [" ".join(words) for words, _ in requests_of("snips:test")[::150][:4]]
    generate_with_branches(folder / "model", run, texts)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
