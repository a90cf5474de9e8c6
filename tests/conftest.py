import multiprocessing
import os
import sys
import threading
from itertools import count
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


NUMBER = count()


def _cached_in(folder: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUNKLINE_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True, scope="session")
def caches(tmp_path_factory):
    """The cache of fixtures that serve the whole run of the tests; and the caches of modules and tests."""
    yield from _cached_in(tmp_path_factory.mktemp("caches"))


@pytest.fixture(autouse=True, scope="module")
def own_cache_of_a_module(caches):
    """For a module's fixtures: states that another one computed, in batches of other texts, may differ in their last bits."""
    yield from _cached_in(caches / str(next(NUMBER)))


@pytest.fixture(autouse=True)
def own_cache(caches, monkeypatch):
    """No test reads or writes the user's cache. Most need none, so the folder is made by what does."""
    monkeypatch.setenv("TRUNKLINE_CACHE", str(caches / str(next(NUMBER))))


@pytest.fixture(autouse=True)
def own_threads():
    """A worker that a test runs in this process sets torch's threads, on which the last bits of later tests depend."""
    torch = sys.modules.get("torch")
    before = torch and torch.get_num_threads()
    yield
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture
def signalled():
    """For a test that sends a signal to its own process: handlers are installed, and called, in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("tests run outside of the main thread here, which no signal reaches")


@pytest.fixture(scope="session")
def processes():
    """Processes that start in milliseconds: forked from a server that has imported what they need and done nothing else.

    It imports what a run or a server would only import later, too, as every process would take seconds for it.
    """
    context = multiprocessing.get_context("forkserver")
    late = ["sklearn.metrics", "transformers.models.bert.modeling_bert", "trunkline.serving.http.app"]
    context.set_forkserver_preload(["torch", "trunkline.training.fit", *late])
    return context


@pytest.fixture(scope="session")
def tiny_trunk_dir(tmp_path_factory) -> Path:
    from tiny import tiny_bert

    return tiny_bert(tmp_path_factory.mktemp("trunk") / "tiny-bert")


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """zoo(name) -> folder of the tiny trunk `name`, made once; no test changes it."""
    from tiny_zoo import make

    root, made = tmp_path_factory.mktemp("zoo"), {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = make(root / name, name)
        return made[name]

    return folder


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    """A Ray cluster whose nodes are processes; a head, and as many others as a test wants. Skipped without Ray."""
    from raytools import machines

    with machines(tmp_path_factory.mktemp("ray")) as found:
        yield found
