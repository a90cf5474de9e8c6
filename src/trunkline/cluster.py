"""A Ray cluster: what is asked of it, in Ray's own terms, and connecting to it. Ray is imported where it is used only.

Nothing is sent to Ray's makers. A cluster that is started here, as no address was given, has one machine and listens on its
loopback address alone.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput, TrunklineError, clipped, unknown_name

KEYS = ("address", "num_cpus", "num_gpus", "resources.NAME")
LOST = 10  # times that a worker may be lost over one task: preemptible machines are, and a task that kills every worker ends
LOOK = 2.0  # seconds between two looks at what is left of the cluster
SILENT = 10.0  # seconds after which a head that does not answer is told of
KEPT = "what is done is kept, and the same command resumes"
# Ray's own switch, which it has for systems whose firewalls ask: it then takes the loopback address for that of the machine.
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@dataclass(frozen=True)
class Resources:
    """What each worker is given, and where.

    address (str | None): of the cluster, as `ray.init` takes it: HOST:PORT, or auto for one that runs on this machine. None is
        $RAY_ADDRESS, and without that a cluster of this machine alone that is started and stopped.
    num_cpus (float | None): of a worker; it computes with so many threads. None is one.
    num_gpus (float | None): of a worker. None is one where the cluster has any, else none.
    resources (Mapping[str, float]): others of a worker, by the names that they have in the cluster.
    """

    address: str | None = None
    num_cpus: float | None = None
    num_gpus: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Sequence[str]) -> Resources:
        """Read KEY=VALUE, each of KEYS once. BadInput for anything else."""
        found: dict[str, Any] = {}
        for one in given:
            key, equals, value = one.partition("=")
            if not equals:
                raise BadInput(f"--ray: found {clipped(one)!r}, expected KEY=VALUE, with {', '.join(KEYS)}")
            if key not in KEYS[:3] and not (key.startswith("resources.") and key != "resources."):
                raise unknown_name("--ray", key, KEYS)
            if key in found:
                raise BadInput(f"--ray: found {clipped(key)} twice, expected each key once")
            found[key] = value if key == "address" else _amount(key, value)
        named = {key.removeprefix("resources."): found.pop(key) for key in list(found) if key.startswith("resources.")}
        return cls(**found, resources=named)


def _amount(key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf or (number > 1 and number != int(number)):
        raise BadInput(f"--ray: {clipped(key)}: found {clipped(value)!r}, expected a whole number, or a share below 1")
    return number


def require_ray(what: str = "--engine ray") -> None:
    """Raise BadInput where Ray is not installed, which `what` needs."""
    if importlib.util.find_spec("ray") is None:
        raise BadInput(f"{what} needs Ray, which is not installed; install it with pip install 'trunkline[ray]'")


def error_facts(error: Exception) -> dict[str, Any]:
    """Return an error as JSON, for another process: its sentence if it is one of ours, else its type and place, as its own
    words might hold a text.
    """
    if isinstance(error, TrunklineError):
        return {"error": str(error), "bad_input": isinstance(error, BadInput)}
    place = traceback.extract_tb(error.__traceback__)[-1]
    return {
        "error": f"unexpected {type(error).__name__} in {Path(place.filename).name} line {place.lineno}",
        "bad_input": False,
    }


def raise_error(facts: Mapping[str, Any]) -> None:
    """Raise the error that `error_facts` has told of, if these facts are of one."""
    if "error" in facts:
        raise (BadInput if facts["bad_input"] else TrunklineError)(facts["error"])


@dataclass(frozen=True)
class Connected:
    """A cluster that this process is connected to.

    options (dict[str, Any]): what a worker asks for, as `ray.remote` takes it.
    """

    options: dict[str, Any]

    @property
    def threads(self) -> int:
        """Of a worker."""
        return max(1, int(self.options["num_cpus"]))

    def places(self) -> int:
        """Return how many workers the machines that are there now have room for."""
        import ray

        return sum(self._on(node["Resources"]) for node in ray.nodes() if node["Alive"])

    def map(
        self, work: Callable[..., dict[str, Any]], calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Call a function on workers, and yield the number of each call, from 0, with what it returns, in the order in which
        they are done. What is lost with a machine is called again.

        Args:
            work: a function of a module, which returns a plain dict, of `error_facts` where it fails.
            calls: its arguments; few more are taken than there are places.

        Raises:
            TrunklineError: the error that a call has told of, or workers were lost again and again over one call.
        """
        import ray

        called = ray.remote(max_retries=LOST, **self.options)(work)
        left, running = enumerate(calls), dict[Any, int]()
        try:
            while True:
                # Some wait for a place: a cluster that grows by what is waited for sees them.
                for number, arguments in islice(left, max(0, 2 * self.places() + 2 - len(running))):
                    running[called.remote(*arguments)] = number
                if not running:
                    return
                for ref in ray.wait(list(running), timeout=1.0)[0]:
                    number = running.pop(ref)
                    try:
                        found = ray.get(ref)
                    except ray.exceptions.RayError as error:
                        raise TrunklineError(f"Ray has given up ({type(error).__name__}); {KEPT}") from None
                    raise_error(found)
                    yield number, found
        finally:
            for ref in running:
                ray.cancel(ref, force=True)

    def _on(self, machine: Mapping[str, float]) -> int:
        asked = {"CPU": self.options["num_cpus"], "GPU": self.options["num_gpus"], **self.options["resources"]}
        rooms = [math.floor(machine.get(name, 0.0) / amount) for name, amount in asked.items() if amount]
        return min(rooms, default=1)


@contextmanager
def connected(asked: Resources, say: Callable[[str], None] = lambda sentence: None) -> Iterator[Connected]:
    """Connect to the cluster that is asked for; a process that is connected already stays so, and uses that one.

    Args:
        asked: which, and what each worker is given.
        say: told in a sentence where no machine has what a worker needs yet or any longer, and where the cluster is lost: Ray
            ends the process about a minute after its head has gone, with exit code 1, and raises nothing.

    Raises:
        BadInput: Ray is not installed, or the machine, alone, has not what a worker needs.
        TrunklineError: no cluster answers at the address.
    """
    require_ray()
    alone = asked.address is None and not os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else its C++ writes to the terminal, a line for each lost task
    if alone:
        os.environ.setdefault(_LOOPBACK, "0")
    import ray

    ours = not ray.is_initialized()
    if ours:
        _start(None if alone else asked.address or os.environ["RAY_ADDRESS"])
    try:
        gpus = ray.cluster_resources().get("GPU", 0.0)
        options = {
            "num_cpus": 1.0 if asked.num_cpus is None else asked.num_cpus,
            "num_gpus": float(gpus >= 1) if asked.num_gpus is None else asked.num_gpus,
            "resources": dict(asked.resources),
        }
        found = Connected(options)
        if not found.places():
            wanted = [f"{key}={options[key]:g}" for key in ("num_cpus", "num_gpus") if options[key]]
            wanted += [f"resources.{name}={amount:g}" for name, amount in asked.resources.items()]
            if alone and ours:
                raise BadInput(f"--ray: found {' '.join(wanted)}, expected no more than this machine has")
            say(f"no machine of the cluster has {' '.join(wanted)}; waiting for one that joins")
        with _watched(found, say):
            yield found
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def _watched(cluster: Connected, say: Callable[[str], None]) -> Iterator[None]:
    """Tell when no machine is left that has room for a worker, and when the head does not answer any longer."""
    import ray

    over = threading.Event()
    head = ray.get_runtime_context().gcs_address
    # Apart, as asking for the machines may wait for a head that is lost, until the process ends.
    watching = [
        threading.Thread(target=_watch_machines, args=(cluster, say, over), daemon=True),
        threading.Thread(target=_watch_head, args=(head, say, over), daemon=True),
    ]
    for thread in watching:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in watching:
            thread.join(1.0)  # one that waits for a lost head is left alone


def _watch_machines(cluster: Connected, say: Callable[[str], None], over: threading.Event) -> None:
    before = cluster.places()
    while not over.wait(LOOK):
        try:
            now = cluster.places()
        except Exception:  # Ray's errors of a lost head have no common type; the other thread tells of that
            return
        if before and not now:
            say(f"all machines with room for a worker are lost; waiting for one that joins; {KEPT}")
        before = now


def _watch_head(address: str, say: Callable[[str], None], over: threading.Event) -> None:
    silent = 0.0
    while not over.wait(LOOK):
        began = time.monotonic()
        if answers(address):
            silent = 0.0
            continue
        told, silent = silent >= SILENT, silent + LOOK + time.monotonic() - began
        if silent >= SILENT and not told:
            say(f"the Ray cluster at {address} is lost: its head does not answer; Ray ends this process soon; {KEPT}")


def answers(address: str) -> bool:
    """Whether something takes connections at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SILENT).close()
    except OSError:
        return False
    return True


def _start(address: str | None) -> None:
    import ray

    own: dict[str, Any] = {"include_dashboard": False} if address is None else {}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = "no cluster answers there" if isinstance(error, ConnectionError) else type(error).__name__
        raise TrunklineError(f"--ray address={clipped(address)}: {reason}; expected the address of a Ray cluster") from None
