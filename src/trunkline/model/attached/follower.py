"""Follows the passes of a user's model: which belong to one generation, whose rows are whose, and what went wrong.

Nothing that goes wrong here ends a pass of the model: it is kept, and told when answers are asked for. A callback's error is
the program's own and comes through.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.errors import BadInput, TrunklineError
from trunkline.model.attached.calls import Call, cache_of, length_of
from trunkline.model.attached.clips import Repeats
from trunkline.model.attached.generating import unfinished
from trunkline.model.attached.generation import Generation
from trunkline.model.attached.seen import Reading, Riders, Seen
from trunkline.trunk.architectures import Taps

Told = Callable[["Seen", int, int], None]  # what was seen, the column of the first new token, and how many are new


class Ends:
    """The ids that end a text, and those that stand behind its end in a batch, as a model or its tokenizer names them."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        places = [getattr(model, "generation_config", None), getattr(model, "config", None), tokenizer]
        self.end = _ids(places, "eos_token_id")
        self.pad = _ids(places, "pad_token_id") + self.end  # where there is none, the library takes the end's


def _ids(places: list[Any], key: str) -> list[int]:
    found: list[int] = []
    for place in places:
        value = getattr(place, key, None)
        found += value if isinstance(value, list) else [] if value is None else [int(value)]
    return found


class StackFollower:
    """A `Follower` (trunk/stream.py) for the branches that read one stack.

    Args:
        riders: the branches.
        ends: of the model.
        precision: of the model: fp32 or bf16.
        taps: of the stack.
        caches: whether a pass may fill a cache without being given one.
        read: from the arguments of the module that is given the token ids to what they say.
        repeats: which passes over clips are not counted again.
        told: called after each pass, if given.

    Attributes:
        seen: all batches of texts, in order.
        trouble: what went wrong first.
        in_training: passes that ran in training mode.
        passes: passes that were read.
        spoiled: audio clips whose padding changed their states.
        paused (bool): whether passes are left out.
        lock: held while what was seen changes: with a stream, another thread runs the model than the one that reads answers,
            or that ends the block of an attachment within.
    """

    def __init__(
        self,
        riders: Riders,
        ends: Ends,
        precision: str,
        taps: Taps,
        *,
        caches: bool,
        read: Callable[[Mapping[str, Any]], Call] = Call.read,
        repeats: Repeats | None = None,
        told: Told | None = None,
    ) -> None:
        self.riders, self.ends, self.precision, self.entry, self.told = riders, ends, precision, taps.entry, told
        self.blocks = len(taps.blocks)
        self.read, self._repeats = read, repeats
        self.seen: list[Seen] = []
        self.trouble: TrunklineError | None = None
        self.in_training = self.passes = self.spoiled = 0
        self._open: list[Generation] = []
        self._caches = caches
        self.paused = self._settled = False
        self.lock = threading.RLock()
        self._call: Call | None = None
        self._continued: Generation | None = None
        self._reading: Reading | None = None
        self._real: Tensor | None = None
        self._held = False  # whether others may continue the pass

    def began(self, call: Mapping[str, Any]) -> None:
        if self.paused or self._settled:
            return
        self._call = self._reading = self._continued = None
        if self.trouble is None:
            self._guarded(lambda: self._begin(call))

    def receive(self, layer: int, state: Tensor) -> None:
        if (reading := self._reading) is not None and not self.paused:
            self._guarded(lambda: reading.read(layer, state))

    def ended(self, output: Any) -> None:
        if self.paused:
            return
        with self.lock:
            call, self._call = self._call, None
            if call is None or output is None or self.trouble is not None or self._settled:  # the pass failed, or is not read
                self._reading = None
                return
            before = len(self.seen)
            self._guarded(lambda: self._end(call, output))
            self._reading = None
        if self.told is not None and self.trouble is None:
            seen = self._continued.seen if self._continued is not None else self.seen[before]
            self.told(seen, seen.length - call.real.shape[1], call.real.shape[1])

    def settle(self) -> None:
        """Nothing follows: compute what is left to compute, and let go of the carries."""
        with self.lock:
            self._settled = True
            self.verify()
            for one in self._open:
                self._guarded(one.seen.settle)
            self._open = []
            if self._repeats is not None:
                self._repeats.forget()

    def verify(self) -> None:
        """Note as trouble if the model ran passes that could not be heard; while it runs one, that cannot be told."""
        with self.lock:
            for one in list(self._open) if self._call is None else ():
                self._guarded(one.verify)

    def _begin(self, arguments: Mapping[str, Any]) -> None:
        call = self.read(arguments)
        if call.clips and self._repeats is not None and self._repeats.again(call.clips):
            return
        self.spoiled += call.spoiled
        device = call.real.device.type
        if torch.is_autocast_enabled(device):
            dtype = str(torch.get_autocast_dtype(device)).removeprefix("torch.")
            if {"bfloat16": "bf16", "float32": "fp32"}.get(dtype, dtype) != self.precision:
                expected = f"expected one in {self.precision}, as the model's weights are"
                raise BadInput(f"a pass ran under autocast in {dtype}; {expected}")
        self.in_training += self.entry.training
        self._call = call
        if call.past == 0:
            self._release(call.cache)
        else:
            continued = next((one for one in self._open if one.cache() is call.cache), None) or self._copied(call)
            if continued is None:
                raise BadInput(
                    f"a pass continues with a cache of {call.past} tokens that were put there before the block began, or that "
                    "is a copy of one that has changed since, so their states are not known; expected a generation that begins "
                    "within the block"
                )
            continued.follow(call.cache, call.past, len(call.real))
            self._continued = continued
        if self._continued is None:
            self._real = real = self._unpadded(arguments, call)
        else:
            self._real = real = self._unfinished(self._continued, call)
        self._held = self._continued is not None or self._may_continue(arguments, call)
        if bool(real.any()):
            self._reading = Reading(self.riders, real, held=self._held)

    def _copied(self, call: Call) -> Generation | None:
        """Of a pass that continues from a copy of the cache of a generation that is known: a batch of texts of its own."""
        copies = (one.copied(call.cache, call.past) for one in reversed(self._open))
        found = next((copied for copied in copies if copied is not None), None)
        if found is not None:
            self._release(call.cache)
        return found

    def _may_continue(self, arguments: Mapping[str, Any], call: Call) -> bool:
        """Whether the pass may fill a cache that others continue; what it returns says whether it did."""
        if call.cache is not None or arguments.get("use_cache"):
            return True
        return self._caches and arguments.get("use_cache") is None

    def _unpadded(self, arguments: Mapping[str, Any], call: Call) -> Tensor:
        """Which tokens of a first pass are real. A decoder is given its text one token later, with padding and mostly without a
        mask: then what ends a text and all padding behind it does not count, as nothing real comes after it.
        """
        decodes = arguments.get("encoder_hidden_states") is not None
        if call.ids is None or not decodes or arguments.get("attention_mask") is not None:
            return call.real
        empty = np.isin(call.ids.cpu().numpy(), self.ends.pad)
        behind = np.logical_and.accumulate(empty[:, ::-1], axis=1)[:, ::-1].copy()
        behind[:, :1] = False  # the token that a decoder begins with is often that of padding
        return call.real & torch.from_numpy(~behind).to(call.real.device)

    def _unfinished(self, continued: Generation, call: Call) -> Tensor:
        """Which of the new tokens are read: not what ends a text, nor what stands behind its end.

        Of rows that end one by one, `generate` knows which have; a program that runs the passes itself does not say.
        """
        if (still := unfinished(self.entry, len(call.real))) is not None:
            continued.ended = ~still.cpu().numpy()
            return call.real & still.to(call.real.device)[:, None]
        if call.ids is None or call.ids.shape[1] != 1 or not self.ends.end:
            return call.real
        ids = call.ids[:, 0].cpu().numpy()
        ended = np.isin(ids, self.ends.end) | (continued.ended & np.isin(ids, self.ends.pad))
        continued.ended = ended
        return call.real & torch.from_numpy(~ended).to(call.real.device)[:, None] if ended.any() else call.real

    def _end(self, call: Call, output: Any) -> None:
        reading, self._reading = self._reading, None
        assert self._real is not None
        self.passes += 1
        if reading is not None and reading.missing:
            raise BadInput(f"a pass ended without layers {sorted(reading.missing)}, which the branches read")
        if self._continued is not None:
            self._continued.seen.add(reading, self._real, call.ids)
            self._continued.remember()
            if all(one is not self._continued for one in self._open):  # of a copied cache
                self._open.append(self._continued)
                self.seen.append(self._continued.seen)
            return
        seen = Seen(self.riders, self._real, call.ids, reading, held=self._held)
        self.seen.append(seen)
        cache = call.cache if call.cache is not None else cache_of(output)
        if self._held and cache is not None and length_of(cache) == seen.length:
            one = Generation(seen, cache, self.blocks)
            one.remember()
            self._open.append(one)
        elif self._held:
            seen.settle()
            self._caches = False

    def _release(self, cache: Any) -> None:
        """Let go of the carries of generations whose cache is gone, or begins anew."""
        for one in self._open:
            if one.cache() is not cache:  # otherwise it has been emptied, and begins anew
                one.verify()
            one.let_go()
            if one.cache() is None or one.cache() is cache:
                one.seen.settle()
        self._open = [one for one in self._open if one.cache() is not None and one.cache() is not cache]

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except torch.OutOfMemoryError:
            self.trouble = TrunklineError("branches found no memory beside the model")
        except TrunklineError as error:
            self.trouble = error
        except Exception as error:
            self.trouble = TrunklineError(f"a branch failed on a pass of the model: {type(error).__name__}: {error}")
            self.trouble.__cause__ = error
        if self.trouble is not None:
            self._reading, self._open = None, []
