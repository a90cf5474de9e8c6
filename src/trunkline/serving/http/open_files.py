"""How many files and connections the process may have open, and a line in the log when nearly all of them are."""

from __future__ import annotations

import logging
import resource
import time

log = logging.getLogger("trunkline.serving")

ENOUGH = 65_536  # a higher limit brings no more, and costs time where all numbers are gone through
SPARE = 8  # open files below the limit from which on it is told
APART = 60.0  # seconds between two lines


def raise_limit() -> None:
    """Allow as many open files as the system lets the process, up to ENOUGH; shells start programs with fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class OpenFiles:
    """Tells when connections use up the files that may be open: the event loop closes further ones without a word."""

    def __init__(self) -> None:
        self._told = -APART

    def opened(self, number: int) -> None:
        """A connection has this file number: the system gives the lowest one that is free."""
        limit, now = resource.getrlimit(resource.RLIMIT_NOFILE)[0], time.monotonic()
        if limit != resource.RLIM_INFINITY and number >= limit - SPARE and now - self._told >= APART:
            self._told = now
            log.warning("nearly all of the %d files that may be open are: further connections are closed unanswered", limit)
