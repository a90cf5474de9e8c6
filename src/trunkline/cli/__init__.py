"""The command line: each command parses, calls lower packages, and prints.

A command lives in a file of its own whose top imports nothing heavy, so that `trunkline --help` answers at once. Exit codes
are 0 for done, 1 for failed, 2 for bad input and 130 for interrupted; with `--json` a command prints one JSON object to stdout
and the rest to stderr.
"""

from __future__ import annotations

from trunkline.cli.app import app, main

__all__ = ["app", "main"]
