"""What all commands share: their common options, one sentence for an error, one JSON object for `--json`, quiet libraries."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import json
import logging
import os
import shlex
import shutil
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

import trunkline
from trunkline.errors import BadInput, TrunklineError, ascii_controls
from trunkline.terminal import from_here, leads, wrapped

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")


class Empty(StrEnum):
    """What becomes of rows without a text."""

    skip = "skip"
    refuse = "refuse"


PACKAGE = Path(trunkline.__file__).parent
SLOW = 5.0  # seconds after which a log is told what takes so long
UNLIMITED = 100_000  # characters of a line that is written to a file or a pipe

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout, everything else to stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
DataFormat = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="NAME", help="Format of the data, e.g. conll, if the suffix does not imply it.", show_default=False
    ),
]
DataColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="[ROLE=]NAME",
        help="A column of DATA, if not as in training: of the texts, or of the ROLE text_pair, tokens, or a branch's name.",
        show_default=False,
    ),
]
DataLabels = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="GIVEN=TRAINED",
        help="A label of DATA and the label of the branch that it stands for.",
        show_default=False,
    ),
]
TrunkName = Annotated[
    str | None, typer.Option("--trunk", metavar="NAME", help="Location of the branches' trunk, if it has moved.")
]
BackendName = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="What computes the trunk: torch, openvino or onnx (compiled for the processor); by default as in training.",
        show_default=False,
    ),
]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        "--min-confidence",
        metavar="P",
        help="Give no answer where a branch is less confident than this, from 0 to 1.",
        show_default=False,
    ),
]
TrunkDtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="NAME",
        help="Precision of the trunk: fp32, bf16 or int8; by default as in training.",
        show_default=False,
    ),
]
PrecisionChange = Annotated[
    bool,
    typer.Option(
        "--allow-precision-change",
        help="Answer from another precision than in training, after a check on sample texts that is reported.",
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train again, even if this run was started or completed before.")]


def out() -> Console:
    """The console of results. Made for each use, as stdout may be swapped."""
    return _console(stderr=False)


def err() -> Console:
    """The console of progress, findings and errors."""
    return _console(stderr=True)


def _console(stderr: bool) -> Console:
    """As wide as its terminal; what goes to a file or a pipe is neither wrapped nor cut, whatever COLUMNS says."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, emoji=False)
    if not made.file.isatty():
        made.width = UNLIMITED
    return made


def tell(sentence: str, indent: int = 2) -> None:
    """Write a sentence to stderr: broken between words where that is a terminal, one line where it is a log."""
    if not leads():
        return
    for line in wrapped(sentence, shutil.get_terminal_size().columns if sys.stderr.isatty() else None, indent):
        typer.echo(line, err=True)


@contextmanager
def working(what: str, seconds: float = SLOW) -> Iterator[None]:
    """Say on a terminal what is being done meanwhile; in a log it is one line, if it takes longer than `seconds`."""
    if not err().file.isatty():
        timer = threading.Timer(seconds, tell, (what,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        return
    with err().status(what):
        yield


def below(path: Path) -> str:
    """A path as one would type it from here: relative where it lies below the working directory."""
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)


def program() -> str:
    """How the shell is told to run this command again: `trunkline` where it finds that, else the path of the one that runs."""
    own = Path(sys.argv[0])
    found = shutil.which("trunkline")
    if own.stem != "trunkline" or not own.is_file() or (found is not None and own.samefile(found)):
        return "trunkline"
    typed = below(own)
    return shlex.quote(typed if os.sep in typed else os.path.join(os.curdir, typed))


def guarded(command: Callable[P, Any]) -> Callable[P, None]:
    """Make a function a command: it returns what `--json` prints, and raises what becomes one sentence and an exit code.

    The command prints for people itself, unless its `as_json` is set; then whatever is printed goes to stderr.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json, debug = bool(kwargs.get("as_json")), bool(kwargs.get("debug"))
        try:
            with _quiet_libraries(debug):
                if not leads():
                    with contextlib.redirect_stdout(io.StringIO()):
                        command(*args, **kwargs)
                elif as_json:
                    with contextlib.redirect_stdout(sys.stderr):
                        value = command(*args, **kwargs)
                    print_json(value)
                else:
                    command(*args, **kwargs)
        except TrunklineError as error:
            complain(str(error), debug)
            raise typer.Exit(2 if isinstance(error, BadInput) else 1) from None
        except KeyboardInterrupt as error:
            complain(str(error) or "interrupted", debug)
            raise typer.Exit(130) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except MemoryError:
            complain("out of memory; a smaller training.batch_tokens or training.states=live may help", debug)
            raise typer.Exit(1) from None
        except Exception as error:
            complain(f"{_unexpected(error)}; --debug shows the traceback", debug)
            raise typer.Exit(1) from None

    run.__doc__ = _unbroken(command.__doc__)
    return run


def _unbroken(doc: str | None) -> str | None:
    """A docstring as help: each paragraph in one line, which typer wraps to the terminal, and the examples a line each."""
    paragraphs = inspect.cleandoc(doc or "").split("\n\n")
    return "\n\n".join(one if one.startswith("\b") else one.replace("\n", " ") for one in paragraphs) or None


def print_json(value: Any) -> None:
    """Print one JSON object as UTF-8 whatever the terminal's encoding; lone surrogates as JSON's escapes."""
    write_stdout(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_stdout(text: str) -> None:
    """Write `text` to stdout as UTF-8."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def complain(sentence: str, debug: bool = False) -> None:
    """Write the sentence of an error to stderr."""
    if debug:
        traceback.print_exc()
    typer.echo(f"trunkline: {ascii_controls(from_here(sentence))}", err=True)


def _unexpected(error: Exception) -> str:
    """Name an error that nobody foresaw by its type and place; its own words might hold a user's text."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the system'}: {error.strerror}"
    frames = traceback.extract_tb(error.__traceback__)
    inner = next((f for f in reversed(frames) if Path(f.filename).is_relative_to(PACKAGE)), frames[-1])
    return f"unexpected {type(error).__name__} in {Path(inner.filename).name} line {inner.lineno}"


@contextlib.contextmanager
def _quiet_libraries(debug: bool) -> Iterator[None]:
    """Keep the libraries' warnings, logs and progress bars off the terminal; Trunkline's own warnings get through."""
    if not debug:
        # Read by the libraries when they are imported, which happens inside the command.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("DATASETS_VERBOSITY", "error")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("trunkline: %(message)s"))
    own, root = logging.getLogger("trunkline"), logging.getLogger()
    propagates, own_level, level = own.propagate, own.level, root.level
    own.addHandler(handler)
    own.propagate = False
    own.setLevel(logging.WARNING if leads() else logging.CRITICAL)  # of its own, as the root's is changed below
    if not debug:
        root.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")
            yield
    finally:
        own.removeHandler(handler)
        own.propagate = propagates
        own.setLevel(own_level)
        root.setLevel(level)
