"""Names are found without importing what they stand for, and one that is asked for imports its own module only."""

from __future__ import annotations

import compileall
import subprocess
import sys

import pytest

from trunkline.errors import BadInput
from trunkline.registry import Registry

TABLE = """from trunkline.registry import Registry

things = Registry("thing", __name__)
"""
THING = """from {table} import things


@things.register("{name}")
def make():
    return "{made}"
"""


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """package(name, table=None, **things) -> a new package of that name, with a module for each thing."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def make(name: str, table: str | None = None, **things: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text(TABLE if table is None else "")
        for module, called in things.items():
            (folder / f"{module}.py").write_text(THING.format(table=table or name, name=called, made=module))
        return name

    yield make
    for module in set(sys.modules) - before:
        del sys.modules[module]


def test_one_name_imports_one_module(package):
    name = package("parts_a", first="first", second="the-second", third="third")
    things: Registry = __import__(name).things
    assert things.names() == ["first", "the-second", "third"]
    assert not [module for module in sys.modules if module.startswith(f"{name}.")]
    assert things.get("the-second")() == "second"
    assert [module for module in sys.modules if module.startswith(f"{name}.")] == [f"{name}.second"]


def test_a_higher_package_adds_its_own(package):
    name = package("parts_b", first="first")
    things: Registry = __import__(name).things
    assert things.names() == ["first"]
    things.add_package(package("above_b", table=name, upper="upper"))
    assert things.names() == ["first", "upper"] and things.get("upper")() == "upper"


def test_what_is_registered_while_running_is_known_too(package):
    things: Registry = __import__(package("parts_c", first="first")).things
    things.register("own")(marker := object())
    assert things.names() == ["first", "own"] and things.get("own") is marker
    with pytest.raises(ValueError, match="registered twice"):
        things.register("own")(object())


def test_compiled_modules_without_their_source_are_found(package, tmp_path):
    name = package("parts_d", first="first")
    compileall.compile_dir(tmp_path / name, legacy=True, quiet=1)
    (tmp_path / name / "first.py").unlink()
    things: Registry = __import__(name).things
    assert things.names() == ["first"] and things.get("first")() == "first"


def test_a_name_that_two_modules_register_is_a_programming_error(package):
    things: Registry = __import__(package("parts_e", first="same", second="same")).things
    with pytest.raises(ValueError, match=r"registered in parts_e\.first and in parts_e\.second"):
        things.names()


@pytest.mark.parametrize(
    ("name", "said"), [("frist", "did you mean 'first'"), (["first"], "unknown name"), (None, "null"), ({}, "a mapping")]
)
def test_what_is_no_name_is_refused(package, name, said):
    things: Registry = __import__(package("parts_f", first="first")).things
    with pytest.raises(BadInput, match=said):
        things.get(name)


def test_a_side_branch_is_had_without_the_peft_library_or_another_method():
    probe = """
import sys
import trunkline.model.folders, trunkline.serving.http.listening
assert not {"torch", "fastapi"} & set(sys.modules)  # a port that is taken is found before these are loaded
ASKED = {"trunkline." + name for name in ("branches.probe", "branches.scalar_mix", "tasks.sequence", "tasks.regression",
    "tuners.lora")} | {"peft", "datasets", "matplotlib"}
import trunkline.model.bundle, trunkline.training.fit
from trunkline.branches import methods
from trunkline.training.config import resolve
resolve({"data": {"train": "snips"}, "tasks": {"a": {"kind": "sequence", "label": "intent"}}, "method": "probe"})
print(*sorted(ASKED & set(sys.modules)))
assert {"lora", "probe"} <= set(methods.names())
methods.get("bitfit")
print("peft" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "trunkline.branches.probe", "trunkline.tasks.sequence", "False"
    ]  # fmt: skip
