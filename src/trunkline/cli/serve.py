"""`trunkline serve`: branches of one trunk over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.common import (
    BackendName,
    Debug,
    Json,
    PrecisionChange,
    TrunkDtype,
    TrunkName,
    guarded,
    out,
    print_json,
    tell,
    working,
)
from trunkline.errors import BadInput

if TYPE_CHECKING:
    from trunkline.model.branch import Branch
    from trunkline.model.bundle import Bundle

EXAMPLE = "play some jazz"


def example(branches: Iterable[Branch]) -> dict[str, str]:
    """A body that is answered: with a second text where no branch reads texts alone."""
    alone = any(branch.text_pair is None for branch in branches)
    return {"text": EXAMPLE} if alone else {"text": EXAMPLE, "pair": EXAMPLE}


def _advice(bundle: Bundle) -> list[str]:
    """What would compute the trunk faster on this machine: measured by the first server, and then known."""
    from trunkline.trunk.speeds import TAKES, advice, compiles, speeds

    if not compiles():
        return []
    with working(f"measuring once what this machine computes fastest, {TAKES}"):
        return advice(bundle.trunk, speeds(bundle.trunk))


def _loading(backend: str | None, dtype: str | None) -> str:
    what = "loading the trunk and the branches"
    if backend is dtype is None:
        return what
    return f"{what}, compiling and checking what differs from training: this may take minutes"


@guarded
def serve(
    branches: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_OR_BRANCH...", help="Runs or branches; a run stands for all of its branches.", show_default=False
        ),
    ],
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", help="Port to listen on; 0 takes one that is free.")] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            metavar="FILE",
            help="Keys that clients must show, one a line; read again when it changes. Also: TRUNKLINE_KEYS.",
            show_default=False,
        ),
    ] = None,
    admin_keys: Annotated[
        Path | None,
        typer.Option(
            "--admin-keys",
            metavar="FILE",
            help="Keys of those who may add and remove tasks. Also: TRUNKLINE_ADMIN_KEYS.",
            show_default=False,
        ),
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Let everybody in who reaches an address that is not this machine's own.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--branches",
            metavar="FOLDER",
            help="Folder of branches or runs that PUT /v1/tasks/NAME may add by their name.",
            show_default=False,
        ),
    ] = None,
    queue_tokens: Annotated[
        int, typer.Option("--queue-tokens", metavar="N", min=1, help="Tokens of waiting requests from which on there is 429.")
    ] = 16_384,
    batch_tokens: Annotated[
        int, typer.Option("--batch-tokens", metavar="N", min=1, help="Tokens of a batch, padding included.")
    ] = 512,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="Time until a request is answered or refused.")
    ] = 30.0,
    docs: Annotated[
        bool, typer.Option("--docs", help="Also offer /docs, a page about the addresses that loads scripts from another site.")
    ] = False,
    trunk: TrunkName = None,
    backend: BackendName = None,
    dtype: TrunkDtype = None,
    allow_precision_change: PrecisionChange = False,
    at_start: Json = False,  # not as_json: the object is printed when requests are taken, and not at the end
    debug: Debug = False,
) -> dict[str, Any]:
    """Answer requests over HTTP with any number of branches of one trunk, all in the same pass.

    POST /v1/predict takes texts, GET /v1/tasks lists the tasks, /openapi.json describes all. SIGTERM and Ctrl+C end it, when
    the requests that are there have been answered.

    [bold]Examples[/]

    \b
    trunkline serve runs/demo-1a2b3c4d
    trunkline serve runs/a runs/b/branches/topic --port 8080 --keys keys.txt
    trunkline serve runs/a --branches runs --admin-keys admins.txt
    """
    from trunkline.cli.loading import loading
    from trunkline.model.folders import is_branch_or_run, no_branch
    from trunkline.serving.http.listening import address_of, bind, check_installed, is_loopback, with_hosts
    from trunkline.serving.http.logs import json_logs, trace_crashes

    trace_crashes()
    check_installed()
    if bad := [path for path in branches if not is_branch_or_run(path)]:
        raise no_branch(bad[0])
    if folder is not None and not folder.is_dir():
        raise BadInput(f"--branches: found no folder {folder}, expected one")
    from trunkline.serving.http.keys import Keys, from_environment
    from trunkline.serving.http.settings import Settings

    settings = Settings(
        keys=Keys(keys, from_environment("TRUNKLINE_KEYS"), "TRUNKLINE_KEYS"),
        admin_keys=Keys(admin_keys, from_environment("TRUNKLINE_ADMIN_KEYS"), "TRUNKLINE_ADMIN_KEYS"),
        branches=folder,
        docs=docs,
        timeout=timeout,
    )
    listening = bind(host, port)  # before torch is imported, which takes seconds
    try:
        if not is_loopback(listening) and not settings.covered and not without_keys:
            raise BadInput(
                f"--host {host}: found no keys, expected --keys FILE or TRUNKLINE_KEYS where others than this machine can "
                "reach it, or --without-keys"
            )
        with working(_loading(backend, dtype)), loading():
            from trunkline.allocator import share_one_arena
            from trunkline.model.bundle import Bundle
            from trunkline.serving.engine import Engine, Limits
            from trunkline.serving.http.run import log, serve_engine
            from trunkline.serving.workers import divide_cores

            share_one_arena()
            bundle = Bundle.open(
                branches, trunk=trunk, backend=backend, dtype=dtype, allow_precision_change=allow_precision_change
            )
        for sentence in [*bundle.findings, *_advice(bundle)]:
            tell(sentence)
        with working("running what is served once, and compiling what was not"):
            engine = Engine(bundle, Limits(queue_tokens, batch_tokens, workers=divide_cores(bundle.trunk)))
        del bundle  # the engine has its own, with stacked weights of its own
        address = address_of(listening)

        def started() -> None:
            if at_start:
                print_json({"address": address, "tasks": list(engine.branches)})
                return
            key = "-H 'Authorization: Bearer KEY' " if settings.covered else ""
            body = f"-H 'Content-Type: application/json' -d '{json.dumps(example(engine.branches.values()))}'"
            out().print(f"serving {', '.join(engine.branches)} on {address}", soft_wrap=True, markup=False)
            out().print(f"curl {address}/v1/predict {key}{body}", soft_wrap=True, markup=False)

        with json_logs():
            serve_engine(engine, with_hosts(settings, listening, host), listening, started)
            if not engine.close(settings.drain_seconds):
                log.warning("some requests were not answered in time")
            log.info("ended")
    finally:
        listening.close()
    return {}
