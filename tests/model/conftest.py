from __future__ import annotations

import pytest
from everykind import bundle_of_every_kind


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """A bundle with a branch of every kind of task; no test changes it."""
    return bundle_of_every_kind(tmp_path_factory.mktemp("trunk") / "tiny-bert")
