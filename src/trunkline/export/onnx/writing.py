"""Writes the folder: model.onnx, tokenizer.json and its like, decoding.json, predict.py and a model card."""

from __future__ import annotations

import copy
import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from trunkline.errors import BadInput, unknown_name
from trunkline.export.branch import facts
from trunkline.export.card import write_card
from trunkline.export.onnx import predict
from trunkline.export.onnx.checking import Agreement, compare, other_texts, sample
from trunkline.export.onnx.decoding import DECODING, GRAPH, SCRIPT, TOKENIZER, described
from trunkline.export.onnx.quantising import calibration, quantise
from trunkline.export.onnx.together import Together, open_together
from trunkline.export.onnx.traced import write_whole
from trunkline.files import atomic_directory, new_folder, write_json
from trunkline.trunk.load import Trunk

Precision = Literal["fp32", "int8"]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        dtype: of the trunk's matrix products.
        kinds: of each task, by the name of its output.
        pairs: whether the tasks read pairs, so that the graph needs second texts.
        agreement: of each task's answers with those of torch in fp32.
        findings: a sentence for each thing to know of that.
    """

    folder: Path
    dtype: Precision
    kinds: Mapping[str, str]
    pairs: bool
    agreement: Mapping[str, Agreement]
    findings: list[str]


def export_onnx(
    branches: Any,
    folder: str | Path,
    *,
    dtype: Precision = "fp32",
    trunk: str | Trunk | None = None,
    texts: Sequence[str] | None = None,
) -> Exported:
    """Write branches and their trunk as one ONNX graph, with an output for each task; it is run and compared with torch first.

    Args:
        branches: branch directories, or run directories with all their branches; one or several, of one trunk, one maximum
            length, and all of single texts or all of pairs. Side branches, or those that share a trunk changed by a method
            that can be merged into its weights.
        folder: new or empty.
        dtype: of the trunk's matrix products. int8 is quantised by NNCF.
        trunk: another place where the trunk is found.
        texts: to compare on, and to calibrate int8 with; by default some of the embedded data, others for each.

    Raises:
        BadInput: the branches cannot be in one graph, onnx or onnxruntime is not installed, or something is in the folder.
        TrunklineError: torch cannot export the trunk, or the graph answers differently; nothing is written then.
    """
    place = new_folder(Path(folder))
    if dtype not in (known := get_args(Precision)):
        raise unknown_name("", dtype, known, key="dtype")
    needed = ["onnx", "onnxruntime", *(["nncf"] if dtype == "int8" else [])]
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        extras = "onnx,openvino" if "nncf" in missing else "onnx"
        raise BadInput(
            f"onnx in {dtype} was requested, but {' and '.join(missing)} is not installed; install it with pip install "
            f"'trunkline[{extras}]'",
            key="format",
        )
    together = open_together(branches, trunk)
    if taken := [name for name in together.branches if name in together.inputs]:
        raise BadInput(f"task {taken[0]!r}: the graph has an input of that name; expected another name for the task")
    with atomic_directory(place) as temporary:
        write_whole(together.traced, together.modules, together.inputs, together.max_length, temporary / GRAPH)
        if dtype == "int8":
            quantise(temporary / GRAPH, calibration(together, other_texts(together.pairs, texts)))
        _write_tokenizer(together, temporary)
        shutil.copyfile(predict.__file__, temporary / SCRIPT)
        write_json(temporary / DECODING, described(together, dtype, {}))
        agreement = compare(together, temporary, sample(together.pairs, texts), exact=dtype == "fp32", where=Path(folder))
        write_json(temporary / DECODING, described(together, dtype, {name: asdict(one) for name, one in agreement.items()}))
        _write_card(together, temporary, place.name)
    kinds = {name: branch.task.kind for name, branch in together.branches.items()}
    return Exported(place, dtype, kinds, together.pairs, agreement, _findings(agreement, dtype))


def _write_tokenizer(together: Together, folder: Path) -> None:
    """The tokenizer as the graph needs it: cutting texts at the maximum length, padding on the right."""
    trunk = together.trunk
    tokenizer = copy.deepcopy(trunk.tokenizer)
    tokenizer.save_pretrained(folder)
    inner = tokenizer.backend_tokenizer
    inner.enable_truncation(
        together.max_length, stride=together.overlap or 0, strategy="longest_first", direction=tokenizer.truncation_side
    )
    inner.enable_padding(direction="right", pad_id=trunk.pad_id, pad_token=inner.id_to_token(trunk.pad_id) or "[PAD]")
    inner.save(str(folder / TOKENIZER))


def _findings(agreement: Mapping[str, Agreement], dtype: Precision) -> list[str]:
    found = []
    for name, one in agreement.items():
        if dtype == "int8":
            found.append(f"{name!r}: {one.same:,} of {one.texts:,} sample texts get the same answer in int8 as in fp32.")
        if one.trained_in is not None:
            found.append(
                f"{name!r} was trained on states in {one.trained_in}, and the graph computes in {dtype}: {one.own_same:,} of "
                f"{one.own_texts:,} sample texts get the same answer."
            )
    return found


def _write_card(together: Together, folder: Path, title: str) -> None:
    sections = {}
    for name, branch in together.branches.items():
        for section, values in facts(branch).items():
            if section != "trunk":
                sections[f"`{name}`: {section}"] = values
    sections["trunk"] = facts(together.first)["trunk"]
    level = "unit" if all(branch.task.answers.units for branch in together.branches.values()) else "text"
    given = '["a text"], ["its second text"]' if together.pairs else '["a text"]'
    code = [
        "from pathlib import Path",
        "from predict import Graph  # predict.py in this folder: numpy, onnxruntime and tokenizers are all that it needs",
        "",
        f'print(Graph(Path(".")).predict({given}))',
    ]
    write_card(folder, "onnx", "onnxruntime", level, together.trunk, title, sections, code)
