"""What the examples of `trunkline.attach` share: spoken requests (the embedded SNIPS), a tokenizer of whole words, brief
training, two branches, and the proof that a model's outputs stay what they are.

Nothing here needs a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import trunkline
from trunkline.data.sources import read_table

BEGIN, PAD, END = 0, 1, 2  # ids of <s>, <pad> and </s>


def requests_of(split: str) -> list[tuple[list[str], str]]:
    """The words of each request, and its intent, as "AddToPlaylist"."""
    columns = read_table(split).columns
    return list(zip(columns["tokens"], columns["label"], strict=True))


def make_tokenizer(texts: list[str], template: str, **settings: Any) -> Any:
    """A tokenizer of whole words; `template` is what stands around a text, such as "<s> $A </s>"."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.WordLevelTrainer(vocab_size=6000, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", BEGIN), ("</s>", END)])
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings |= {"model_max_length": 64, "model_input_names": ["input_ids", "attention_mask"]}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named, **settings)


def train_model(model: Any, batch: Callable[[], Mapping[str, Any]], steps: int) -> tuple[float, float]:
    """Train a model on batches as `batch` draws them; return its mean loss in the first tenth of the steps and in the last."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    losses = []
    model.train()
    for _ in range(steps):
        loss = model(**batch()).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    part = -(-steps // 10)
    return sum(losses[:part]) / part, sum(losses[-part:]) / part


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save a model and its tokenizer, as a folder that is a trunk."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train_branches(trunk: Path, run_dir: Path, epochs: int, rows: int | None = None) -> Any:
    """Two branches on the layers of the frozen model: the intent of a request, and its slots, word by word."""
    return trunkline.fit(
        {
            "trunk": {"name": str(trunk), "dtype": "fp32"},
            "data": {"train": "snips", "validation": "10%", "test": "snips:test", **({"rows": rows} if rows else {})},
            "tasks": {
                "intent": {"kind": "sequence", "label": "label"},
                "slots": {"kind": "token", "tokens": "tokens", "tags": "tags"},
            },
            "method": {"name": "adalayers", "dim": 64},
            "training": {"epochs": epochs, "seed": 0},
        },
        run_dir=run_dir,
        progress=False,
    )


def tell_scores(run: Any) -> None:
    """Print what the branches reach on the test split."""
    scores = {name: task["test"] for name, task in run.tasks.items()}
    print(f"test: intent accuracy {scores['intent']['accuracy']:.3f}, slots F1 {scores['slots']['f1']:.3f}")


def prove(
    model: Any, inputs: Mapping[str, Any], branches: Any, ways: Sequence[dict[str, Any]], **given: Any
) -> tuple[Any, Any]:
    """Generate alone and with branches, in each way, and compare tokens and scores bit by bit.

    Args:
        model: that generates.
        inputs: of `generate`.
        branches: that are attached.
        ways: settings of `generate`.
        given: to `attach`.

    Returns:
        The output of the last way, and the attachment that read it.
    """
    import torch

    for way in ways:
        settings = {"max_new_tokens": 12, "output_scores": True, "return_dict_in_generate": True, **way}
        torch.manual_seed(0)
        alone = model.generate(**inputs, **settings)
        torch.manual_seed(0)
        with trunkline.attach(model, branches, **given) as taps:
            ridden = model.generate(**inputs, **settings)
        same = torch.equal(alone.sequences, ridden.sequences) and all(map(torch.equal, alone.scores, ridden.scores))
        print(f"{way}: outputs with branches are {'identical' if same else 'DIFFERENT'}")
        assert same
    return ridden, taps
