"""Which of two labels precision, recall and F1 are about, where the user does not say.

A label that usually stands for what is looked for (yes, true, 1, spam, ...), or whose counterpart usually stands for its
absence (no, false, 0, ham, not_x beside x, ...); else the label that fewer training rows have.
"""

from __future__ import annotations

from collections.abc import Sequence

POSITIVE = frozenset(
    "1 yes y true t positive pos present spam toxic hate hateful offensive abusive insult harassment threat obscene sexist "
    "racist fake fraud scam phishing malicious sarcasm sarcastic ironic irony entailment paraphrase duplicate acceptable "
    "relevant correct match same suicide depression attack bot ai".split()
)
NEGATIVE = frozenset(
    "0 -1 no n false f negative neg absent none nothing neutral normal ham safe clean benign legit legitimate ok other others "
    "nan n/a na null neither real genuine human different nonhate".split()
)
# Before the other label's name these deny it: "unrelated" and "related", "not_medical" and "medical".
PREFIXES = ("no", "not", "non", "un", "in", "im", "ir", "il", "dis")


def guess_positive(labels: Sequence[str], counts: Sequence[int]) -> int:
    """Return the number (0 or 1) of the positive one of two labels.

    Args:
        labels: two names.
        counts: how many training rows have each; of equally many, the second label is taken, as scikit-learn does.
    """
    names = [label.strip().casefold() for label in labels]
    for words, number in ((POSITIVE, 0), (NEGATIVE, 1)):
        first, second = (name in words for name in names)
        if first != second:
            return number if first else 1 - number
    for number in (0, 1):
        label, other = names[number], names[1 - number]
        if any(other.startswith(prefix) and other[len(prefix) :].lstrip(" _-") == label for prefix in PREFIXES):
            return number
    return 0 if counts[0] < counts[1] else 1
