"""A Ray cluster of processes on this machine's loopback address, and commands that use it as a user's do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

STORE = 100 << 20  # bytes of a node's object store
TRIES = 5  # to start a node
LONG = 1800  # seconds: the machine may be busy with other tests


class Machines:
    """Node processes: a head that computes nothing, and others with one CPU each, which come and go."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder = folder
        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: list[Any] = []

    @property
    def address(self) -> str:
        return self.cluster.address

    def join(self) -> Any:
        """Start a node; its `node_id` is what Ray calls it."""
        for left in reversed(range(TRIES)):
            try:
                self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=STORE))
                break
            except Exception:  # its processes have ended, as they had to wait for each other for too long
                if not left:
                    raise
        return self.nodes[-1]

    def of_size(self, count: int) -> list[Any]:
        """Have so many nodes besides the head."""
        while len(self.nodes) > count:
            self.kill(self.nodes[-1])
        while len(self.nodes) < count:
            self.join()
        self.cluster.wait_for_nodes(timeout=LONG)  # until the head has noticed
        return list(self.nodes)

    def kill(self, node: Any) -> None:
        """End a node as a power cut does."""
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)


def patient(get_node: Callable[..., Any]) -> Callable[..., Any]:
    """Ray gives a node half a minute to start, which is short where many tests run; this is ten minutes."""

    def waiting(*arguments: Any) -> Any:
        began = time.monotonic()
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() - began > 600:
                    raise
                time.sleep(1)

    return waiting


@contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'trunkline[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # so that it listens on the loopback address alone
        assert "ray" not in sys.modules or import_module("ray._private.ray_constants").ENABLE_RAY_CLUSTER is False
        patch.setattr("ray._private.services.get_node", patient(import_module("ray._private.services").get_node))
        token = folder / "token"
        token.write_text("0" * 64)
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))  # else Ray writes one into the user's home
        patch.setenv("RAY_agent_register_timeout_ms", str(1000 * LONG))  # where many tests run, nodes are slow to start
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        found = Machines(folder)
        try:
            yield found
        finally:
            found.cluster.shutdown()


def command(*arguments: object, cwd: Path, first: str = "") -> subprocess.Popen:
    """Start `trunkline` in a process of its own, which runs the code `first` before."""
    program = [sys.executable, "-c", f"{first}\nfrom trunkline.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(program, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen, code: int = 0) -> str:
    """Wait for a command; what it has said."""
    said, errors = process.communicate(timeout=LONG)
    assert process.returncode == code, errors
    return said + errors


def until(what: Callable[[], Any], process: subprocess.Popen) -> Any:
    """Wait until something is so while a command runs."""
    began = time.monotonic()
    while not (found := what()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() - began < LONG
        time.sleep(0.1)
    return found
