"""What there is to say about the answers of attached branches, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trunkline.model.attached.follower import StackFollower
from trunkline.model.branch import Branch


def of_passes(follower: StackFollower, which: str, given: int) -> Iterator[str]:
    """What a block that is over has, or has not, read.

    Args:
        follower: of a stack.
        which: what messages call that.
        given: how many texts the program says that the model is given; 0 where it does not.
    """
    if follower.trouble is not None:
        return
    left = given - sum(len(seen.real) for seen in follower.seen)
    if not follower.passes:
        yield (
            f"no pass of {which} was read in the block; those of other threads, of another copy of the model, those that "
            "failed, and those that are compiled, traced or exported are not"
        )
    elif left > 0:
        yield f"{left} of {given} texts were not given to the model, so there is no answer about them"


def of_states(follower: StackFollower, branches: Mapping[str, Branch], *, audio: bool) -> Iterator[str]:
    """In which way the states that branches read are not those that they were trained on.

    Args:
        follower: of a stack.
        branches: that read it, by name.
        audio: whether the stack reads clips.
    """
    lengths = [length for seen in follower.seen for length in seen.real.sum(1).tolist()]
    if follower.in_training:
        yield (
            f"{follower.in_training} of {max(follower.passes, follower.in_training)} passes ran in training mode, "
            "in which dropout changes the states that branches read; model.eval() ends it"
        )
    if follower.spoiled:
        yield (
            f"{follower.spoiled} of {len(lengths)} clips end as padding does; this model has no mask for it and normalises "
            "over the whole length, so their answers are not those of the clips alone"
        )
    texts, tokens = ("clips", "rows of states") if audio else ("texts", "tokens")
    for name, branch in branches.items():
        if longer := sum(length > branch.max_length for length in lengths):
            yield (
                f"{longer} of {len(lengths)} {texts} have more {tokens} than the {branch.max_length} that {name} was "
                "trained to read; all of them were read" + (", as one window" if branch.task.answers.joined else "")
            )
