"""Saved files changed in every way that tests can think of: values of JSON, bytes and tensors, what lies in their place."""

from __future__ import annotations

import copy
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

VALUES = [
    None, True, False, 0, -1, 1, 2, 5.9, 1e30, 10**9, 10**30, "", "x", "../../x", "/x", "[/b]", "a\x1b[31m\nb", "bf16", "fp32",
    [], [1], ["a", "a"], {}, {"a": {"b": None}},
]  # fmt: skip

Change = tuple[str, Callable[[Path], None]]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within a JSON value, its own left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def put(described: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of JSON with `value` at `path`."""
    described = copy.deepcopy(described)
    inner = described
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return described


def json_changes(file: str, described: dict[str, Any], each: int = 2) -> Iterator[Change]:
    """Each value of the JSON file replaced (by `each` of VALUES in turn), left out or turned around, and a key more at every
    level. Of scores and counts within `metrics`, one stands for all.
    """
    turn = itertools.cycle(VALUES)

    def write(changed: Any) -> Callable[[Path], None]:
        return lambda folder: (folder / file).write_text(json.dumps(changed), "utf-8")

    scores = [path for path in places(described) if path[0] == "metrics" and len(path) > 2]
    for path in places(described):
        if path in scores[1:]:
            continue
        held: Any = described
        for key in path:
            held = held[key]
        name = f"{file}: {'.'.join(map(str, path))}"
        for value in itertools.islice(turn, each):
            if json.dumps(value) != json.dumps(held):
                yield f"{name} = {value!r}", write(put(described, path, value))
        less = copy.deepcopy(described)
        inner: Any = less
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        yield f"{name} left out", write(less)
        if isinstance(held, list) and len(held) > 1:
            yield f"{name} reversed", write(put(described, path, held[::-1]))
        if isinstance(held, dict):
            yield f"{name} with more", write(put(described, path, {**held, "more": 1}))
        if isinstance(held, int | float) and not isinstance(held, bool):
            yield f"{name} + 1", write(put(described, path, held + 1))
            yield f"{name} as text", write(put(described, path, str(held)))
        if isinstance(held, bool):
            yield f"{name} turned", write(put(described, path, not held))


def weights_changes(file: str, folder: Path, other: Path | None = None) -> Iterator[Change]:
    """Bits flipped, parts cut off, tensors swapped, scaled, emptied, cast, renamed; the weights of another in its place."""
    data, tensors = (folder / file).read_bytes(), load_file(folder / file)
    with safe_open(folder / file, "pt") as opened:
        metadata = opened.metadata()

    def save(changed: dict[str, torch.Tensor], said: dict[str, str] | None = metadata) -> Callable[[Path], None]:
        return lambda place: save_file({name: value.contiguous() for name, value in changed.items()}, place / file, said)

    def write(content: bytes) -> Callable[[Path], None]:
        return lambda place: (place / file).write_bytes(content)

    for at in sorted({0, 5, 8, 40, len(data) // 2, len(data) - 2, len(data) - 1}):
        for bit in (0, 6):
            yield f"{file}: bit {bit} of byte {at}", write(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
    for size in (0, 4, 8, 100, len(data) // 2, len(data) - 1):
        yield f"{file}: cut to {size}", write(data[:size])
    yield f"{file}: longer", write(data + b"\0")
    shapes: dict[Any, str] = {}
    for name, value in tensors.items():
        first = shapes.setdefault((value.shape, value.dtype), name)
        if first != name and not torch.equal(value, tensors[first]):
            yield f"{file}: {name} and {first} swapped", save({**tensors, name: tensors[first], first: value})
        if not value.is_floating_point():
            continue
        for what, changed in {
            "zeros": torch.zeros_like(value), "1e30": torch.full_like(value, 1e30), "nan": torch.full_like(value, torch.nan),
            "half": value.half(), "double": value.double(), "whole": value.int(), "wider": torch.stack([value, value]),
        }.items():  # fmt: skip
            if changed.dtype != value.dtype or changed.shape != value.shape or not torch.equal(changed, value):
                yield f"{file}: {name} {what}", save({**tensors, name: changed})
        yield f"{file}: {name} gone", save({key: held for key, held in tensors.items() if key != name})
        yield f"{file}: {name} renamed", save({key if key != name else "\x1b[1m[/b]": held for key, held in tensors.items()})
    yield f"{file}: without metadata", save(tensors, None)
    yield f"{file}: one more", save({**tensors, "more": torch.zeros(1)})
    if other is not None:
        yield f"{file}: of another", write(other.read_bytes())


def place_changes(file: str) -> Iterator[Change]:
    """Something else in the file's place."""

    def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            (folder / file).unlink()
            make(folder / file)

        return change

    for name, make in {
        "gone": lambda path: None, "a folder": Path.mkdir, "a FIFO": os.mkfifo,
        "a device": lambda path: path.symlink_to("/dev/zero"), "a loop": lambda path: path.symlink_to(path),
        "empty": lambda path: path.write_bytes(b""), "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
        "deep": lambda path: path.write_text("[" * 200_000), "deep objects": lambda path: path.write_text('{"a":' * 200_000),
        "huge": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40),
        "a list": lambda path: path.write_text("[1]"), "a pickle": lambda path: torch.save({"a": torch.ones(1)}, path),
    }.items():  # fmt: skip
        yield f"{file}: {name}", instead(make)


def each(saved: Path, work: Path, changes: Iterator[Change]) -> Iterator[tuple[str, Path]]:
    """For every change, its name and a copy of the folder `saved` in which it was made."""
    for name, change in changes:
        copied = work / "changed"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(saved, copied)
        change(copied)
        yield name, copied


def resave(folder: Path, described: dict[str, Any], schema: int = 2) -> None:
    """Give the branch in `folder` this branch.json as if it had been saved so, with the weights that it has."""
    from trunkline.model.branch_file import write_branch_file

    kept = {key: value for key, value in described.items() if key != "weights_sha256"}
    write_branch_file(folder, kept | {"schema": schema}, load_file(folder / "weights.safetensors"))
