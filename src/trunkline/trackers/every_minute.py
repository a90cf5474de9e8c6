"""When a log gets a line about work that is under way: once a minute, as it has no bar that shows how far the work has come."""

from __future__ import annotations

import time

from rich.console import Console

SECONDS = 60.0  # from one line to the next
now = time.monotonic


class EveryMinute:
    """Told of every line that is written to `console`, knows whether one about the work under way is due."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.written()

    def written(self) -> None:
        """Take note of a line: the next one is due a minute later."""
        self._last = now()

    @property
    def due(self) -> bool:
        """Whether the last line is a minute old; never on a terminal, where a bar shows it."""
        return not self.console.is_terminal and now() - self._last >= SECONDS
