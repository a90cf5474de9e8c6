from __future__ import annotations

import pytest
from tiny_zoo import STACKS

from trunkline.trunk.load import Trunk, load_trunk


@pytest.fixture(scope="session")
def tiny_trunk(zoo):
    """tiny_trunk(name, stack, dtype) -> the loaded trunk, on the CPU."""
    loaded: dict[tuple, Trunk] = {}

    def trunk(name: str, stack: str = "encoder", dtype: str = "fp32") -> Trunk:
        key = (name, stack, dtype)
        if key not in loaded:
            loaded[key] = load_trunk(zoo(name), stack=stack, dtype=dtype, device="cpu")
        return loaded[key]

    return trunk


@pytest.fixture(params=STACKS, ids="-".join)
def any_stack(request) -> tuple[str, str]:
    """Every trunk of the zoo with each of its stacks."""
    return request.param
