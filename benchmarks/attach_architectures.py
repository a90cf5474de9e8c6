"""Write the table of architectures on which `trunkline.attach` passes its self-check into docs/attach.md.

    python benchmarks/attach_architectures.py            # write the table
    python benchmarks/attach_architectures.py --print    # only print it

For every architecture of `trunk/architectures.py`, a tiny model with random weights (tests/tiny_zoo.py) with each head that
people run it with is loaded by transformers, two branches are attached, and `Attachment.check` compares bits: the states that
are read with `output_hidden_states`, and the outputs of the forward pass and of each way of generating with those of the model
alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers as hf

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from bundletools import make  # noqa: E402
from tiny_audio import AUDIO  # noqa: E402
from tiny_zoo import MODELS  # noqa: E402
from tiny_zoo import make as write  # noqa: E402

import trunkline  # noqa: E402
from trunkline.model.attached.checks import WAYS, Check  # noqa: E402
from trunkline.trunk import load_trunk  # noqa: E402
from trunkline.trunk.architectures import ARCHITECTURES  # noqa: E402

PAGE = ROOT / "docs" / "attach.md"
BEGIN, END = "<!-- begin: benchmarks/attach_architectures.py -->", "<!-- end -->"
TABLES = (
    hf.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    hf.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    hf.MODEL_FOR_CAUSAL_LM_MAPPING,
    hf.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
)
CAUSAL = ("gpt2", "llama", "qwen2", "qwen3")
AUDIO_HEADS = {
    "whisper": (hf.WhisperForAudioClassification, hf.WhisperForConditionalGeneration),
    "wav2vec2": (hf.Wav2Vec2ForSequenceClassification, hf.Wav2Vec2ForAudioFrameClassification, hf.Wav2Vec2ForCTC),
}


def heads_of(name: str) -> Iterator[type[hf.PreTrainedModel]]:
    """The classes with a head that people run an architecture with."""
    config = hf.T5Config if name == "t5" else MODELS[name].model_class.config_class
    for table in TABLES:
        if config in table and (table is not hf.MODEL_FOR_CAUSAL_LM_MAPPING or name in CAUSAL):  # others are no language models
            yield table[config]


def checked(folder: Path, name: str, kind: type[hf.PreTrainedModel]) -> Check:
    """The self-check of one class with branches on every stack that its architecture has."""
    hf.utils.logging.set_verbosity_error()
    pad = {"pad_token_id": 0} if name in CAUSAL else {}  # without one, these classify one text at a time only
    model = kind.from_pretrained(folder, dtype=torch.float32, **pad).eval()
    every = ARCHITECTURES[MODELS[name].model_class.config_class.model_type].stacks
    # T5 tags tokens without its decoder.
    stacks = [stack for stack in every if len(every) == 1 or hasattr(model.base_model, stack)]
    branches: dict[str, Any] = {}
    for stack in stacks:
        trunk = load_trunk(folder, stack=stack, dtype="fp32", device="cpu")
        branches |= {f"{stack} {task}": make(trunk, task) for task in ("sequence", "token")}
    return trunkline.attach(model, branches).check()


def audio_rows(made: Path) -> Iterator[tuple[str, Check]]:
    """The same of those that read audio; of wav2vec2 with each of its two norms."""
    for name, write_audio in AUDIO.items():
        folder = write_audio(made / name)
        trunk = load_trunk(folder, dtype="fp32", device="cpu")
        branches = {task: make(trunk, task) for task in ("sequence", "regression")}
        for kind in AUDIO_HEADS[trunk.architecture]:
            norm = getattr(trunk.model.config, "feat_extract_norm", None)
            model = kind.from_pretrained(folder, dtype=torch.float32).eval()
            called = trunk.architecture if norm is None else f"{trunk.architecture}, {norm} norm"
            yield called, trunkline.attach(model, branches).check()


def rows() -> Iterator[tuple[str, Check]]:
    """Every architecture and class, checked."""
    names = [name for name in MODELS if name not in ("deberta-v2-conv", "albert-groups", "gpt2-left")]
    with tempfile.TemporaryDirectory() as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            folder = write(Path(made) / name, name)
            for kind in heads_of(name):
                yield name, checked(folder, name, kind)
        yield from audio_rows(Path(made))


def table(found: list[tuple[str, Check]]) -> str:
    """The table in Markdown; a way of generating that a class has not is left empty."""

    def shown(equal: bool | None) -> str:
        return {True: "yes", False: "**no**", None: ""}[equal]

    head = ["architecture", "class", "states", "forward", *WAYS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, check in found:
        states = ", ".join(f"{stack}: {shown(equal)}" for stack, equal in check.states.items())
        own = shown(check.states["encoder"]) if len(check.states) == 1 else states
        cells = [f"`{name}`", f"`{check.model}`", own, shown(check.outputs), *(shown(check.generation[way]) for way in WAYS)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--print", action="store_true", help="print the table and write nothing")
    arguments = options.parse_args()
    found = list(rows())
    text = table(found)
    print(text)
    if not arguments.print:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
    if not all(check.passed for _, check in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
