"""What a command line that cannot be parsed is answered: one sentence, like any other bad input.

The libraries of command lines word such errors each in its own way, and typer passes on pydantic's words for wrong values.
"""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

import typer
from typer.core import TyperGroup

from trunkline.cli.common import complain
from trunkline.errors import BadInput, clipped, listed, literal

# As pydantic calls them.
_BOUNDS = {"ge": "of at least {}", "gt": "of more than {}", "le": "of at most {}", "lt": "of less than {}"}


class CommandGroup(TyperGroup):
    """Commands; to one that there is not, the answer is the nearest that there is.

    other_names (Mapping[str, str]): what other tools call them -> what they are called here.
    """

    other_names: Mapping[str, str] = {}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            if args and "UsageError" in _names(error):
                own = {name: name for name in self.list_commands(ctx)}
                known = {**self.other_names, **own}
                near = difflib.get_close_matches(args[0], known, n=1)
                hint = f"did you mean {known[near[0]]}?" if near else f"expected one of {listed(list(own), quoted=False)}"
                raise BadInput(f"unknown command {literal(args[0])}; {hint}", where=_command(ctx)) from None
            raise


class CommandLine(CommandGroup):
    """All commands of a program, with one sentence for each error in how they are called."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _one_sentence():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _one_sentence():
            return super().invoke(ctx)


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        found = error if isinstance(error, BadInput) else _bad_input(error)
        if found is None:
            raise
        complain(str(found))
        raise typer.Exit(2) from None


def _bad_input(error: Exception) -> BadInput | None:
    """The same as bad input; None if the error is not about how a command was called."""
    kinds = _names(error)
    if "UsageError" not in kinds or "NoArgsIsHelpError" in kinds:  # which is no error, but the help
        return None
    message, ctx, param = getattr(error, "message", ""), getattr(error, "ctx", None), getattr(error, "param", None)
    command = "" if ctx is None else _command(ctx)
    manual = f"`{f'trunkline {command}'.strip()} --help` shows"
    if "MissingParameter" in kinds and param is not None:
        return BadInput(where=command, found=f"no {_shown(param)}", expected=f"one; {manual} an example")
    if "BadParameter" in kinds and param is not None:
        return _bad_value(error, message, ctx, param)
    if "NoSuchOption" in kinds:
        option, near = getattr(error, "option_name", ""), getattr(error, "possibilities", None) or []
        hint = getattr(error, "key", None) or " or ".join(one for one in sorted(near) if one != "--help")
        hint = f"did you mean {hint}?" if hint else f"{manual} which there are"
        return BadInput(f"unknown option {clipped(option)}; {hint}", where=command)
    if "BadOptionUsage" in kinds:
        option, lacks = getattr(error, "option_name", ""), "requires" in message
        return BadInput(where=option, found="no value" if lacks else "a value", expected="one" if lacks else "none")
    return BadInput(f"{message[:1].lower()}{message[1:].rstrip('.')}; {manual} an example", where=command)


def _command(ctx: Any) -> str:
    """What is typed behind the name of the program to call a command."""
    return str(ctx.command_path).partition(" ")[2]


def _names(error: Exception) -> set[str]:
    """The names of its classes: typer has those of click in modules that differ by its version."""
    return {kind.__name__ for kind in type(error).__mro__}


def _bad_value(error: Exception, message: str, ctx: Any, param: Any) -> BadInput:
    """The error for a value that an option or an argument cannot have."""
    errors = getattr(error.__cause__, "errors", None)
    (first, *_) = errors() if callable(errors) else [{}]
    found, parts = literal(first.get("input")), _parts(ctx, param)
    if first and (choices := [choice for part in parts for choice in _choices(part)]):
        expected = f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
        return BadInput(where=_shown(param), found=found, expected=expected)
    if first and (number := "a whole number" if int in parts else "a number" if float in parts else ""):
        bounds = [_BOUNDS[name].format(bound) for name, bound in first.get("ctx", {}).items() if name in _BOUNDS]
        return BadInput(where=_shown(param), found=found, expected=" ".join([number, *bounds]))
    return BadInput(message.rstrip("."), where=_shown(param))


def _shown(param: Any) -> str:
    """How a user writes an option or an argument."""
    names = [name for name in param.opts if name.startswith("-")]
    return str(names[0] if names else param.metavar or param.name)


def _parts(ctx: Any, param: Any) -> list[Any]:
    """The types, and the words of a Literal, that the function of the command allows for a parameter."""
    found, rest = [], [typing.get_type_hints(inspect.unwrap(ctx.command.callback)).get(param.name)]
    while rest:
        part = rest.pop(0)
        rest += typing.get_args(part)
        found.append(part)
    return found


def _choices(part: Any) -> list[str]:
    if isinstance(part, str):
        return [part]
    return [str(member.value) for member in part] if isinstance(part, type) and issubclass(part, Enum) else []
