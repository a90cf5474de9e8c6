"""`trunkline states`: build, list and remove layer states that are kept on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import Debug, Json, err, guarded, out, tell
from trunkline.cli.on_ray import Engine, EngineName, RayOptions, filling, resources_of
from trunkline.cli.usage import CommandGroup
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trunkline.states.budget import StoreInfo
    from trunkline.training.stored import SplitStates

OTHER_NAMES = {
    "list": "info",
    "ls": "info",
    "show": "info",
    "rm": "prune",
    "remove": "prune",
    "delete": "prune",
    "clear": "prune",
}


class StatesGroup(CommandGroup):
    """Knows what its commands are called in other tools."""

    other_names = OTHER_NAMES


app = typer.Typer(cls=StatesGroup, help="Build, list and remove the layer states stored on disk.", no_args_is_help=True)

Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY.SUB=VALUE", help="Changes to it.", show_default=False)]
SHORT = 12  # digits of a key that are shown; any that are enough to tell it from others will do


@app.command("build")
@guarded
def build(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML config.", show_default=False)],
    overrides: Overrides = None,
    engine: Engine = EngineName.local,
    ray: RayOptions = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Compute the layer states that a config reads, so that fitting it starts at once.

    [bold]Examples[/]

    \b
    trunkline states build examples/emotion.yaml
    trunkline states build config.yaml --engine ray --ray address=head:6379
    """
    resources = resources_of(engine, ray)
    from trunkline.trackers.progress import FitProgress
    from trunkline.training.config import load_config
    from trunkline.training.stored import build_states

    given = load_config(config, overrides or [])
    with FitProgress(err()) as progress, filling(resources) as fill:
        found = build_states(given, progress, fill)
    if not as_json:
        _show_splits(found)
    return {"stores": [_plain(one) for one in found]}


@app.command("info")
@guarded
def info(
    which: Annotated[
        str | None,
        typer.Argument(metavar="KEY|CONFIG", help="A store, or a config; all stores by default.", show_default=False),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """List the stores, the most recently used first; or describe one, or those that a config reads.

    [bold]Examples[/]

    \b
    trunkline states info
    trunkline states info examples/emotion.yaml
    """
    from trunkline.cli.fit import CONFIGS

    if which is not None and Path(which).suffix.lower() in CONFIGS:
        from trunkline.training.config import load_config
        from trunkline.training.stored import find_states

        with err().status("reading the data and the trunk"):
            found = find_states(load_config(which))
        if not as_json:
            _show_splits(found)
        return {"stores": [_plain(one) for one in found]}
    from trunkline.files import cache_dir
    from trunkline.states.budget import list_stores

    root = cache_dir() / "states"
    stores = list_stores(root)
    if which is not None:
        stores = [store for store in stores if store.key.startswith(which)]
        if not stores:
            raise BadInput(f"{which}: no store under {root} has a key with this prefix, and it is not a .yaml config")
    if not as_json:
        if which is not None and len(stores) == 1:
            _show_store(stores[0])
        else:
            _show_stores(stores, root)
    return {"root": str(root), "bytes": sum(store.bytes for store in stores), "stores": [_plain(store) for store in stores]}


@app.command("prune")
@guarded
def prune(
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEY", help="Remove these.", show_default=False)] = None,
    keep_gb: Annotated[
        float | None, typer.Option(min=0, metavar="X", help="Remove the least recently used until the rest is at most X GB.")
    ] = None,
    older_than: Annotated[float | None, typer.Option(min=0, metavar="DAYS", help="Remove those not used for DAYS.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every store.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be removed.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> dict[str, Any]:
    """Remove stores. Whatever is needed again is computed again.

    [bold]Examples[/]

    \b
    trunkline states prune --keep-gb 10
    trunkline states prune --older-than 30 --dry-run
    """
    from trunkline.files import cache_dir
    from trunkline.states.budget import list_stores, readable
    from trunkline.states.budget import prune as remove

    root = cache_dir() / "states"
    if not (keys or everything) and keep_gb is None and older_than is None:
        raise BadInput("nothing selected; expected keys, --keep-gb X, --older-than DAYS or --all")
    removed = remove(
        root,
        keep_bytes=None if keep_gb is None else int(keep_gb * 1e9),
        older_than_days=older_than,
        keys=keys or [],
        all=everything,
        dry_run=dry_run,
    )
    freed = sum(store.bytes for store in removed)
    gone = {store.key for store in removed}
    left = [store for store in list_stores(root) if store.key not in gone]
    if not as_json:
        if removed:
            _show_stores(removed, None)
        verb = "would be removed" if dry_run else "removed"
        out().print(f"{len(removed)} of {len(removed) + len(left)} stores {verb}, {readable(freed)}", highlight=False)
    return {"dry_run": dry_run, "removed": [_plain(store) for store in removed], "bytes": freed, "left": len(left)}


def _plain(one: StoreInfo | SplitStates) -> dict[str, Any]:
    from dataclasses import asdict

    told: dict[str, Any] = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(one).items()}
    return told | ({"data": [use._asdict() for use in told["data"]]} if "data" in told else {})


def _show_stores(stores: Sequence[StoreInfo], root: Path | None) -> None:
    from rich.text import Text

    from trunkline.cli import show
    from trunkline.states.budget import readable

    made = show.table("key", "data", "trunk", ">texts", "layers", "dtype", ">size", "used")
    made.columns[0].no_wrap = made.columns[-1].no_wrap = True
    for store in stores:
        facts = ["", "", "", ""]
        if store.tokens:
            facts = [Path(store.trunk).name, f"{store.texts:,}", _layers(store.layers), store.dtype]
        data = Text("\n".join(_data(store)))
        made.add_row(store.key[:SHORT], data, *map(Text, facts), readable(store.bytes), _ago(time.time() - store.last_used))
    out().print(made)
    for store in stores:
        if store.problem:
            tell(f"{store.key[:SHORT]}: {store.problem}")
    if root is not None:
        total = sum(store.bytes for store in stores)
        tell(f"{len(stores)} stores, {readable(total)} in {root}")
        if any(len(_data(store)) > 1 for store in stores):
            tell("A store is read for every data set that has the same texts, whatever its file is called.")


def _show_store(store: StoreInfo) -> None:
    """One store in full, and which runs read it."""
    from trunkline.errors import ascii_controls
    from trunkline.states.budget import readable

    said = [("key", store.key)]
    said += [("data", f"{use.data} ({use.split}), since {use.since}") for use in store.data]
    if store.tokens:
        said += [
            ("trunk", f"{store.trunk}, its {store.stack}, computed in {store.computed_in}"),
            ("states", f"layers {_layers(store.layers)} in {store.dtype} of {store.texts:,} texts, {store.tokens:,} tokens"),
        ]
    now = time.time()
    said.append(("size", f"{readable(store.bytes)}, made {_ago(now - store.created)}, used {_ago(now - store.last_used)}"))
    for name, value in said:
        typer.echo(f"{name:<8}{ascii_controls(value)}")
    if store.problem:
        tell(f"{store.key[:SHORT]}: {store.problem}")
    elif store.tokens:
        typer.echo(
            f"Read by every run with this trunk in {store.computed_in}, training.states_dtype: {store.dtype} and some of these "
            "layers, for the texts that are also in its data."
        )


def _data(store: StoreInfo) -> list[str]:
    """The data sets of a store with their splits: a file by its name alone."""
    splits: dict[str, list[str]] = {}
    for use in store.data:
        splits.setdefault(Path(use.data).name, []).append(use.split)
    return [f"{data} ({', '.join(dict.fromkeys(own))})" for data, own in splits.items()]


def _layers(layers: Sequence[int]) -> str:
    from trunkline.cli import show

    return show.ranges(layers).removeprefix("layers ").removeprefix("layer ")


def _show_splits(found: list[SplitStates]) -> None:
    from trunkline.cli import show
    from trunkline.states.budget import readable

    made = show.table("split", ">texts", ">tokens", "layers", ">size", "stored", "in stores")
    for one in found:
        if one.stored == one.sequences:
            state = "yes"
        elif one.stored:
            state = f"{one.stored:,} of {one.sequences:,} sequences"
        else:
            state = f"layers {_layers(one.built)}" if one.built else "no"
        keys = ", ".join(key[:SHORT] for key in one.stores or ([one.key] if one.built else []))
        made.add_row(one.split, f"{one.texts:,}", f"{one.tokens:,}", _layers(one.layers), readable(one.bytes), state, keys)
    out().print(made)


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"
