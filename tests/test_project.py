"""What surrounds the code keeps its promises: packaging, pinned versions, the Makefile, links, and a fast import."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import trunkline

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("examples/*.md")])


def pinned() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {}
    for requirement in requirements:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, f"{requirement} is not one exact version"
        versions[canonicalize_name(requirement.name)] = Version(specifier.version)
    assert len(versions) == len(requirements), "a package is pinned twice"
    return versions


def direct_requirements() -> list[Requirement]:
    project = PYPROJECT["project"]
    optional = [line for lines in project["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*project["dependencies"], *PYPROJECT["build-system"]["requires"], *optional]]


def test_constraints_satisfy_every_requirement():
    versions = pinned()
    for requirement in direct_requirements():
        name = canonicalize_name(requirement.name)
        assert name in versions, f"constraints.txt does not pin {name}"
        assert requirement.specifier.contains(versions[name]), f"{requirement} rules out the pinned {versions[name]}"


def test_constraints_pin_what_the_requirements_bring_along():
    versions, seen = pinned(), set()
    queue = [(requirement.name, frozenset(requirement.extras)) for requirement in direct_requirements()]
    while queue:
        name, extras = canonicalize_name(queue[-1][0]), queue.pop()[1]
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        assert name in versions, f"constraints.txt does not pin {name}"
        if name == "torch":  # what it brings along depends on the build: CPU, CUDA, macOS
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        for line in requires:
            requirement = Requirement(line)
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in (extras or {""})):
                queue.append((requirement.name, frozenset(requirement.extras)))


def test_torch_is_pinned_without_a_local_version():
    # "2.13.0" lets pip take 2.13.0+cpu where one is offered; "2.13.0+cpu" would fail where none is
    assert pinned()["torch"].local is None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    project = tmp_path_factory.mktemp("wheel") / "project"
    project.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, project)
    shutil.copytree(ROOT / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=project, check=True, capture_output=True)
    (built,) = (project / "dist").glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_every_file_of_the_package(wheel):
    source = ROOT / "src"
    expected = {
        str(path.relative_to(source)) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel.namelist() if name.startswith("trunkline/")} == expected
    assert "trunkline/py.typed" in expected


def test_the_wheel_says_who_it_is(wheel):
    (folder,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    metadata = HeaderParser().parsestr(wheel.read(f"{folder}/METADATA").decode())
    assert metadata["Name"] == "trunkline" and metadata["Version"] == trunkline.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert b"Apache License" in wheel.read(f"{folder}/licenses/LICENSE")
    assert b"trunkline = trunkline.cli:main" in wheel.read(f"{folder}/entry_points.txt")


def test_the_changelog_has_this_version():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert trunkline.__version__ in headings


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target) and not target.startswith("#"):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name} links to {target}"


def code_of(page: Path) -> str:
    """The code of a page: fenced and indented blocks, and `code` within lines."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"^ {4,}(.*)$", text, re.MULTILINE), *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_commands_of_the_pages_exist(page):
    # -n prints the recipe and runs nothing; -o: whatever the state of .venv, it is not to be set up
    for target in sorted(set(re.findall(r"^\s*make ([a-z]+)", code_of(page), re.MULTILINE))):
        command = ["make", "-n", "-o", ".venv/.demo", "-o", ".venv/.dev", target]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}: make {target}: {done.stderr}"


def test_the_readme_shows_the_two_commands():
    code = code_of(ROOT / "README.md")
    assert "make demo" in code and "make test" in code
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)


def test_importing_loads_nothing_heavy():
    probe = "import sys; before = set(sys.modules); import trunkline; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-c", probe], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "trunkline" in loaded and loaded <= {*sys.stdlib_module_names, "trunkline"}


LAYERS = PYPROJECT["tool"]["importlinter"]["contracts"][0]["layers"]  # from the highest to the lowest
HEIGHT = {name.strip(): height for height, layer in enumerate(reversed(LAYERS)) for name in re.split("[:|]", layer)}
NAMES_A_PACKAGE = re.compile(r"\btrunkline\.(\w+)|\bfrom trunkline import (\w+)|(?<![\w./~-])(\w+)/\w*\.?\w*")


def packages_named(source: str) -> list[str]:
    """The packages that a text names, in code, strings or comments, as a module or as a path in the package."""
    return [name for match in NAMES_A_PACKAGE.finditer(source) for name in match.groups() if name in HEIGHT]


def test_no_file_names_a_package_above_its_own():
    package = ROOT / "src" / "trunkline"
    for path in package.rglob("*.py"):
        own = path.relative_to(package).parts[0].removesuffix(".py")
        if own != "__init__":  # which gives the public names of every package
            above = [name for name in packages_named(path.read_text(encoding="utf-8")) if HEIGHT[name] > HEIGHT[own]]
            assert not above, f"{path.relative_to(ROOT)} names {', '.join(above)}, which is above it"


def test_names_of_packages_are_found_wherever_they_stand():
    text = """# see training/loop.py
    x = Registry("method", "trunkline.tuners")  # and cli/
    from trunkline import export
    y = "a/data/b and/or 1/training"
    """
    assert packages_named(text) == ["training", "tuners", "cli", "export"]


def test_every_public_name_resolves_and_has_a_docstring():
    for name in trunkline.__all__:
        thing = getattr(trunkline, name)
        if name != "__version__":
            assert thing.__doc__, f"trunkline.{name} has no docstring"
            assert thing is getattr(importlib.import_module(trunkline._PUBLIC[name]), name)
            assert name in dir(trunkline)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = trunkline.nonsense


def test_type_checkers_see_the_same_public_names():
    tree = ast.parse((ROOT / "src/trunkline/__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    seen = {alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == trunkline._PUBLIC


def test_every_imported_library_is_declared():
    core = {canonicalize_name(Requirement(line).name) for line in PYPROJECT["project"]["dependencies"]}
    extras = {canonicalize_name(requirement.name) for requirement in direct_requirements()}
    serve = {canonicalize_name(Requirement(line).name) for line in PYPROJECT["project"]["optional-dependencies"]["serve"]}
    providers = importlib.metadata.packages_distributions()
    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top_level = {id(node) for node in tree.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module or ""]
            else:
                continue
            for module in {module.split(".")[0] for module in modules} - {*sys.stdlib_module_names, "trunkline"}:
                declared = {canonicalize_name(name) for name in providers.get(module, [module])}
                # an optional library may only be imported where it is used; the HTTP server, as a whole, is
                always = core | serve if "http" in path.parts else core
                assert declared & (always if id(node) in top_level else extras), f"{path.relative_to(ROOT)} imports {module}"


def test_nothing_else_needs_the_http_server():
    """Its libraries are an extra: it is imported by those alone who serve, where they do."""
    for path in (ROOT / "src").rglob("*.py"):
        if "http" not in path.parts:
            body = ast.parse(path.read_text(encoding="utf-8")).body
            found = [node.module for node in body if isinstance(node, ast.ImportFrom) and node.module]
            assert not any(module.startswith("trunkline.serving.http") for module in found), path


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_threads_spin_briefly_unless_the_user_says_how_they_wait(own, expected):
    environment = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    script = "import trunkline, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run([sys.executable, "-c", script], env=environment | own, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
