import multiprocessing

import pytest


@pytest.fixture(scope="session")
def processes():
    """Processes that start in milliseconds: forked from a server that has imported what they need and done nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "trunkline.states.store"])
    return context
