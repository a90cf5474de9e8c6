"""Texts to token ids: tokenised once, packed without padding, with the row of each unit's first sub-word.

Long texts are cut, or divided into overlapping windows (cutting.py). Only the fast tokenizers of transformers are used, for
their character offsets.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trunkline.data.columns import clean
from trunkline.errors import BadInput
from trunkline.inputs.cutting import Cut, Template, Tokens, cut_tokens, join
from trunkline.inputs.encoded import Encoded, ranges

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK_TEXTS, CHUNK_CHARACTERS = 2048, 1 << 20  # tokenised at once: keeps the library's objects (150 bytes a character) few
CLIP_CHARACTERS, CLIP_MARGIN = 8, 16  # read first of a text that is cut: so many characters a token, so many tokens more

Spans = Sequence[tuple[int, int]]


class TextProcessor:
    """What makes token ids of texts, and padded batches of these.

    It holds a copy of the tokenizer's inner part that nothing changes, so threads may share it, whatever else they do with
    the tokenizer.

    Args:
        tokenizer (PreTrainedTokenizerBase): a fast tokenizer of transformers.
        pad_id (int): what stands in a padded place.
        pad_left (bool): which side is padded.
        with_positions (bool): whether batches say the position of each token, as padding on the left may need.
        with_segments (bool): whether batches say the token types of pairs.
        longest (int | None): most tokens that the model has positions for.

    Raises:
        BadInput: a slow tokenizer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        pad_id: int = 0,
        pad_left: bool = False,
        with_positions: bool = False,
        with_segments: bool = True,
        longest: int | None = None,
    ) -> None:
        if not tokenizer.is_fast:
            raise BadInput(f"tokenizer {type(tokenizer).__name__}: it provides no character offsets, expected a fast tokenizer")
        self._tokenizer: Any = tokenizer
        self._inner: Any = copy.deepcopy(self._tokenizer.backend_tokenizer)
        self._inner.no_truncation()
        self._inner.no_padding()
        self._inner.encode_special_tokens = self._tokenizer.split_special_tokens
        known = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id, 0)
        self._stand_in = next(token for token in known if token is not None)  # for a text that has no token at all
        probe = self._probe()
        self._templates = self._template(probe, False), self._template(probe, True)
        self.pad_id, self.pad_left, self.with_positions = pad_id, pad_left, with_positions
        self.with_segments, self.longest = with_segments, longest

    def encode(
        self,
        texts: Sequence[str],
        cuts: Sequence[Cut],
        *,
        pairs: Sequence[str] | None = None,
        units: Sequence[Spans] | None = None,
    ) -> list[Encoded]:
        """Tokenise texts once and cut them in each of the ways asked for, special tokens included.

        The tokens are those that the tokenizer itself gives. Of a text that is cut by all `cuts`, no more is tokenised than
        can matter.

        Args:
            texts (Sequence[str]): lone surrogates are read as U+FFFD.
            cuts: how texts become sequences; the result has as many parts.
            pairs: second texts; a pair that is too long loses tokens from the longer of the two first.
            units: character spans of the words of each text; a unit's row is that of the first sub-word that touches it.

        Raises:
            BadInput: a maximum length without room for text.
        """
        rooms = [self.room(cut.max_length, pairs is not None) for cut in cuts]
        for cut, room in zip(cuts, rooms, strict=True):
            if room < 1 + (pairs is not None):
                taken = f"{cut.max_length - room} special tokens"
                raise BadInput(f"maximum length {cut.max_length}: {taken} leave no room for text, expected a larger one")
        left = self._tokenizer.truncation_side == "left"
        # With units all is read: characters are counted from the text's own beginning, and words may lie anywhere.
        whole = units is not None or (pairs is None and any(cut.windows for cut in cuts))
        with_segments = pairs is not None and "token_type_ids" in self._tokenizer.model_input_names
        made: list[list[Encoded]] = [[] for _ in cuts]
        # No texts at all make a chunk of none: an Encoded with all of its parts.
        for begin, end in _chunks(texts, pairs) if len(texts) else [(0, 0)]:
            chunk = [clean(text) for text in texts[begin:end]]
            chunk_pairs = None if pairs is None else [clean(text) for text in pairs[begin:end]]
            first, second = self._tokens(chunk, chunk_pairs, None if whole else rooms, left, units is not None)
            spans = unit_counts = None
            if units is not None:
                spans, unit_counts = _on_a_line(chunk, units[begin:end])
            for cut, room, parts in zip(cuts, rooms, made, strict=True):
                part = cut_tokens(
                    cut,
                    room,
                    first,
                    second,
                    self._templates[pairs is not None],
                    left=left,
                    with_segments=with_segments,
                    stand_in=self._stand_in,
                    units=spans,
                    unit_counts=unit_counts,
                )
                parts.append(part)
        return [join(parts) for parts in made]

    def room(self, max_length: int, pairs: bool = False) -> int:
        """Tokens of text that a sequence has room for beside the special ones."""
        return max_length - self._inner.num_special_tokens_to_add(pairs)

    def collate(self, encoded: Encoded, sequences: Sequence[int] | np.ndarray, multiple: int = 1) -> dict[str, np.ndarray]:
        """Make a padded batch of some sequences, in their order.

        Returns:
            input_ids and attention_mask, int64 (B, T) with T the longest, rounded up to a multiple of `multiple` where the
            model has positions for that; token_type_ids and position_ids (B, T) where they are wanted.
        """
        sequences = np.asarray(sequences, dtype=np.int64)
        starts, lengths = encoded.offsets[sequences], np.diff(encoded.offsets)[sequences]
        longest = max(int(lengths.max(initial=0)), 1)
        rounded = -(-longest // multiple) * multiple
        longest = rounded if self.longest is None or rounded <= self.longest else longest
        columns = np.arange(longest)
        mask = columns >= (longest - lengths)[:, None] if self.pad_left else columns < lengths[:, None]
        rows = ranges(starts, lengths)

        def padded(values: np.ndarray, filler: int) -> np.ndarray:
            batch = np.full(mask.shape, filler, dtype=np.int64)
            batch[mask] = values[rows]
            return batch

        batch = {"input_ids": padded(encoded.ids, self.pad_id), "attention_mask": mask.astype(np.int64)}
        if encoded.segments is not None and self.with_segments:
            batch["token_type_ids"] = padded(encoded.segments, 0)
        if self.with_positions:
            batch["position_ids"] = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
        return batch

    def _tokens(
        self, texts: list[str], pairs: list[str] | None, rooms: list[int] | None, left: bool, with_spans: bool
    ) -> tuple[Tokens, Tokens | None]:
        """Tokenise a chunk; with `rooms`, no more of each text than that many tokens need."""
        most = None if rooms is None else max(rooms)
        ones, clipped = self._run(texts, most, left)
        if pairs is None:
            return _packed(ones, texts, with_spans), None
        twos, clipped_two = self._run(pairs, most, left)
        if rooms is not None and any(room % 2 for room in rooms):
            # Where both of a pair are long, the longer one gets the odd token; so it must be known which one that is.
            for i in clipped | clipped_two:
                if min(len(ones[i]), len(twos[i])) > min(rooms) // 2:
                    ones[i], twos[i] = self._inner_batch([texts[i], pairs[i]])
        return _packed(ones, texts, with_spans), _packed(twos, pairs, False)

    def _inner_batch(self, texts: list[str]) -> list[Any]:
        return self._inner.encode_batch(texts, add_special_tokens=False) if texts else []

    def _run(self, texts: list[str], most: int | None, left: bool) -> tuple[list[Any], set[int]]:
        """Return the library's `Encoding` of each text, and the numbers of the texts that were read in part only.

        With `most`, a long text is read as far as gives `most` tokens and a margin: cut off between two words, as a
        tokenizer's words do not depend on those after them, with a margin for those that know no words.
        """
        if most is None:
            return self._inner_batch(texts), set()
        found: list[Any] = [None] * len(texts)
        clipped: set[int] = set()
        size, waiting = CLIP_CHARACTERS * (most + CLIP_MARGIN), list(range(len(texts)))
        while waiting:
            parts = [_clipped(texts[i], size, left) for i in waiting]
            for i, part, encoding in zip(waiting, parts, self._inner_batch(parts), strict=True):
                if len(part) == len(texts[i]):
                    found[i] = encoding
                elif len(encoding) >= most + CLIP_MARGIN:
                    found[i] = encoding
                    clipped.add(i)
            waiting, size = [i for i in waiting if found[i] is None], size * 4
        return found, clipped

    def _template(self, probe: str, with_pair: bool) -> Template:
        """The special tokens around a text or a pair."""
        [plain] = self._inner_batch([probe])
        [encoding] = self._inner.encode_batch([(probe, probe) if with_pair else probe])
        template = Template.of(encoding)
        parts = [template.before[0], plain.ids, template.between[0], plain.ids if with_pair else [], template.after[0]]
        if list(itertools.chain.from_iterable(parts)) != encoding.ids:
            raise BadInput(
                f"tokenizer {type(self._tokenizer).__name__}: its post-processor does more than add special tokens before and "
                "after a text, expected only that"
            )
        return template

    def _probe(self) -> str:
        """A text that has tokens."""
        some = (text for texts in (("a", ".", "0"), self._inner.get_vocab()) for text in texts)
        return next((text for text in some if self._inner_batch([text])[0].ids), "")


def encode(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    pairs: Sequence[str] | None = None,
    units: Sequence[Spans] | None = None,
    max_length: int,
    windows: bool = False,
) -> Encoded:
    """Tokenise texts with a tokenizer of transformers in one way; see `TextProcessor.encode` and `Cut`.

    Raises:
        BadInput: a slow tokenizer, or a maximum length without room for text.
    """
    return TextProcessor(tokenizer).encode(texts, [Cut(max_length, windows)], pairs=pairs, units=units)[0]


def _clipped(text: str, size: int, left: bool) -> str:
    """The first words of a text (the last ones, if it is cut on the left), about `size` characters; all if not many more."""
    if len(text) <= 2 * size:
        return text
    words = text[-size:].split(None, 1) if left else text[:size].rsplit(None, 1)
    part = words[-1 if left else 0] if len(words) > 1 else ""
    return part if len(part) >= size // 2 else _clipped(text, 4 * size, left)


def _packed(encodings: list[Any], texts: list[str], with_spans: bool) -> Tokens:
    counts = np.fromiter(map(len, encodings), np.int64, len(encodings))
    ids = np.fromiter(itertools.chain.from_iterable(one.ids for one in encodings), np.int32, int(counts.sum()))
    if not with_spans:
        return Tokens(ids, counts)
    edges = itertools.chain.from_iterable(itertools.chain.from_iterable(one.offsets for one in encodings))
    spans = np.fromiter(edges, np.int64, 2 * len(ids)).reshape(-1, 2)
    return Tokens(ids, counts, spans + np.repeat(np.cumsum([0, *map(len, texts)])[:-1], counts)[:, None])


def _on_a_line(texts: list[str], units: Sequence[Spans]) -> tuple[np.ndarray, np.ndarray]:
    """The spans (U, 2) of units as if the texts lay end to end, and how many each text has."""
    counts = np.fromiter(map(len, units), np.int64, len(units))
    edges = itertools.chain.from_iterable(itertools.chain.from_iterable(units))
    spans = np.fromiter(edges, np.int64, 2 * int(counts.sum())).reshape(-1, 2)
    return spans + np.repeat(np.cumsum([0, *map(len, texts)])[:-1], counts)[:, None], counts


def _chunks(texts: Sequence[str], pairs: Sequence[str] | None) -> Iterator[tuple[int, int]]:
    """Cut the texts into runs of bounded count and length: (begin, end) of each."""
    begin = characters = 0
    for i, text in enumerate(texts):
        more = len(text) + (len(pairs[i]) if pairs is not None else 0)
        if i > begin and (characters + more > CHUNK_CHARACTERS or i - begin >= CHUNK_TEXTS):
            yield begin, i
            begin, characters = i, 0
        characters += more
    if begin < len(texts):
        yield begin, len(texts)
