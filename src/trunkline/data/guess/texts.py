"""Which column is the text, and which the second text of a pair."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.data.guess.looks import Look
from trunkline.data.guess.names import PAIR_NAMES, TEXT_NAMES


def find_texts(looks: Mapping[str, Look]) -> tuple[str | None, str | None]:
    """Return the text column and the second of a pair, either may be None."""
    lower = {name.lower(): name for name in reversed(list(looks))}
    exact = lower.get("text")
    if exact is not None and not (looks[exact].strings and looks[exact].n):
        exact = None
    for first, second in PAIR_NAMES:
        one, two = lower.get(first), lower.get(second)
        if (
            one
            and two
            and (exact is None or one == exact)
            and all(looks[n].strings and looks[n].distinct > 1 for n in (one, two))
        ):
            return one, two
    if exact is not None:
        return exact, None
    free = [look for look in looks.values() if look.free_text]
    best = max(
        free,
        key=lambda look: look.length * look.distinct / look.n * (3 if look.name.lower() in TEXT_NAMES else 1),
        default=None,
    )
    return (None if best is None else best.name), None


def why_no_text(look: Look) -> str:
    """Why a column was not taken for texts; the rest of a sentence."""
    if look.broken or look.trouble:
        return look.broken or look.trouble
    if not look.n:
        return "no row has a value"
    if look.named_as_id:
        return look.why_id
    if look.lists:
        return "its values are lists"
    if look.numbers is not None or not look.strings:
        return "its values are no strings" if look.numbers is None else "its values are numbers"
    if look.distinct <= look.n / 2:
        return f"its strings recur, {look.distinct:,} different in {look.n:,} rows"
    return "its strings are single words"
