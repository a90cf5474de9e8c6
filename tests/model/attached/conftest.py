from __future__ import annotations

import pytest

from trunkline.trunk.load import Trunk, load_trunk


@pytest.fixture(scope="session")
def trunk_of(zoo):
    """trunk_of(name, stack) -> the trunk of the zoo in fp32, on the CPU."""
    loaded: dict[tuple, Trunk] = {}

    def trunk(name: str, stack: str = "encoder") -> Trunk:
        if (name, stack) not in loaded:
            loaded[name, stack] = load_trunk(zoo(name), stack=stack, dtype="fp32", device="cpu")
        return loaded[name, stack]

    return trunk
