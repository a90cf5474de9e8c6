"""A linear-chain conditional random field over packed rows.

Lafferty, McCallum, Pereira, "Conditional random fields", ICML 2001. The score of tags y for emissions e is
start[y_1] + sum_t e_t[y_t] + sum_t transitions[y_t-1, y_t] + end[y_T]; the loss is log Z - score(gold).

Rows come packed, chains of all lengths end to end. They are sorted by position in their chain, longest chains first, so
that step t of all chains is one slice and there is no padding. Sums are in fp64 log space where there is fp64 (the largest term
taken out, the rest a matrix product); transitions that the rules forbid take no part in Z.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trunkline.tasks import crf_on_cpu, stopping
from trunkline.trunk.machine import widest

_TINY = {torch.float64: 1e-300, torch.float32: 1e-37}  # keeps the log of an unreachable state finite
_CELLS = 1 << 20  # (chains, C, C) numbers that one Viterbi step may hold
_FEW = 1 << 13  # of them up to which calls take more time than the work in them, on a CPU: see crf_on_cpu.py


@dataclass
class _Steps:
    """Packed chains by step: row order[i] of the packed rows is the i-th here; step t is rows bounds[t]:bounds[t + 1]."""

    order: Tensor  # (M,)
    bounds: list[int]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def slice(self, step: int) -> slice:
        return slice(self.bounds[step], self.bounds[step + 1])

    def alive(self, step: int) -> int:
        return self.bounds[step + 1] - self.bounds[step] if step < len(self) else 0


def _steps(starts: Tensor, lengths: Tensor) -> _Steps:
    """Lay out chains (all of length >= 1) that begin at the packed rows `starts` (B,), are `lengths` (B,) long."""
    by_length = torch.argsort(lengths, descending=True, stable=True)
    starts, lengths = starts[by_length], lengths[by_length]
    chain = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    position = torch.arange(len(chain), device=lengths.device) - (lengths.cumsum(0) - lengths)[chain]
    by_step = torch.argsort(position, stable=True)
    bounds = torch.bincount(position).cumsum(0).tolist()
    return _Steps((starts[chain] + position)[by_step], [0, *bounds])


class CRF(nn.Module):
    """Scores of tag sequences.

    Args:
        size (int): number of tags C.
        allowed (Tensor | None): bool (C, C), whether tag j may follow tag i; all may where None.
        first (Tensor | None): bool (C,), whether a tag may come first *when decoding*. In training it may always: a chain
            can be a window that begins within a span.
    """

    allowed: Tensor
    first: Tensor

    def __init__(self, size: int, allowed: Tensor | None = None, first: Tensor | None = None) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(size))
        self.end = nn.Parameter(torch.zeros(size))
        self.transitions = nn.Parameter(torch.zeros(size, size))
        self.register_buffer(
            "allowed", torch.ones(size, size, dtype=torch.bool) if allowed is None else allowed, persistent=False
        )
        self.register_buffer("first", torch.ones(size, dtype=torch.bool) if first is None else first, persistent=False)

    def _weights(self) -> Tensor:
        """exp(transitions), 0 where forbidden: (C, C) in the widest dtype."""
        return self._wide(self.transitions).exp() * self.allowed

    def _wide(self, tensor: Tensor) -> Tensor:
        return tensor.to(widest(self.start.device))

    def nll(self, emissions: Tensor, tags: Tensor, groups: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the negative log-likelihood of `tags`, summed over chains and divided by rows, a scalar in the widest dtype.

        Where the gold tags take a forbidden step (a unit between them had no sub-word), a new chain begins.

        Args:
            emissions: (M, C).
            tags: (M,) gold tags.
            groups: (M,) the chain that a row belongs to; rows of one chain lie together, in order.
            weights: (M,) what the log-likelihood of a chain is multiplied by, the same for all its rows; None: 1.

        All are moved to the device of its own weights.
        """
        device = self.start.device
        emissions, tags, groups = self._wide(emissions.to(device)), tags.to(device).long(), groups.to(device)
        size, rows = len(self.start), len(tags)
        opens = torch.ones(rows, dtype=torch.bool, device=tags.device)
        opens[1:] = (groups[1:] != groups[:-1]) | ~self.allowed[tags[:-1], tags[1:]]
        starts = opens.nonzero()[:, 0]
        lengths = torch.diff(starts, append=starts.new_tensor([rows]))
        inner = ~opens[1:]
        if weights is not None:
            return self._weighted(emissions, tags, starts, lengths, inner, self._wide(weights.to(device))) / rows
        # Counting first makes the gradient a product rather than a scatter, so it has the same bits on any thread count.
        pairs = self._wide(torch.bincount((tags[:-1] * size + tags[1:])[inner], minlength=size * size).view(size, size))
        begun = self._wide(torch.bincount(tags[starts], minlength=size))
        ended = self._wide(torch.bincount(tags[starts + lengths - 1], minlength=size))
        gold = emissions.gather(1, tags[:, None]).sum() + (pairs * self.transitions).sum()
        gold = gold + (begun * self.start).sum() + (ended * self.end).sum()
        steps = _steps(starts, lengths)
        last, _ = self._forward(emissions.index_select(0, steps.order), steps, self._wide(self.start), keep=False)
        return (torch.logsumexp(last + self._wide(self.end), dim=1).sum() - gold) / rows

    def _weighted(
        self, emissions: Tensor, tags: Tensor, starts: Tensor, lengths: Tensor, inner: Tensor, weights: Tensor
    ) -> Tensor:
        """The sum over chains of weight times negative log-likelihood; see `nll`. `inner` (M - 1,): steps within a chain."""
        gold = emissions.gather(1, tags[:, None])[:, 0]
        gold = gold + torch.cat([gold.new_zeros(1), torch.where(inner, self._wide(self.transitions)[tags[:-1], tags[1:]], 0)])
        own, final = weights[starts], tags[starts + lengths - 1]
        scored = (gold * weights).sum() + (own * (self._wide(self.start)[tags[starts]] + self._wide(self.end)[final])).sum()
        steps = _steps(starts, lengths)
        last, _ = self._forward(emissions.index_select(0, steps.order), steps, self._wide(self.start), keep=False)
        # `last` has the chains that end at the first step, then those that end at the second: places in the order by length.
        ended = [torch.arange(steps.alive(step + 1), steps.alive(step), device=own.device) for step in range(len(steps))]
        by_length = torch.argsort(lengths, descending=True, stable=True)[torch.cat(ended)]
        return (own[by_length] * torch.logsumexp(last + self._wide(self.end), dim=1)).sum() - scored

    def _forward(self, emissions: Tensor, steps: _Steps, start: Tensor, *, keep: bool) -> tuple[Tensor, Tensor | None]:
        """Return the last alpha of each chain, longest chain last (B, C), and all alphas by step (M, C) if `keep`.

        Args:
            emissions: (M, C) in the widest dtype, in the order of `steps`.
            start: (C,) scores of coming first.
        """
        weights, ended, kept = self._weights(), [], []
        alpha = start + emissions[steps.slice(0)]
        for step in range(len(steps)):
            stopping.check(step)
            if step:
                largest = alpha.detach().amax(dim=1, keepdim=True)
                summed = ((alpha - largest).exp() @ weights).clamp_min(_TINY[alpha.dtype]).log()
                alpha = summed + largest + emissions[steps.slice(step)]
            if keep:
                kept.append(alpha)
            going = steps.alive(step + 1)
            ended.append(alpha[going:])
            alpha = alpha[:going]
        return torch.cat(ended), torch.cat(kept) if keep else None

    @torch.no_grad()
    def decode(self, emissions: Tensor, offsets: Tensor, *, scored: bool = True) -> tuple[Tensor, Tensor]:
        """Return the best tags (M,) of every chain (Viterbi) and the marginal probability (M,) of each of them.

        Args:
            emissions: (M, C).
            offsets: (chains + 1,): rows of chain i are offsets[i]:offsets[i + 1]; a chain may be empty.
            scored: False leaves the probabilities out, which are 0 then.
        """
        emissions = emissions.to(self.start.device)
        offsets = offsets.to(self.start.device)
        tags = torch.zeros(len(emissions), dtype=torch.long, device=emissions.device)
        scores = torch.zeros(len(emissions), dtype=torch.float32, device=emissions.device)
        lengths = torch.diff(offsets)
        chains = torch.argsort(lengths, descending=True, stable=True)
        chains = chains[lengths[chains] > 0]
        at_once = max(1, _CELLS // len(self.start) ** 2)
        for some in torch.split(chains, at_once) if len(chains) else ():
            steps = _steps(offsets[some], lengths[some])
            own = emissions[steps.order]
            tags[steps.order] = best = self._viterbi(own.float(), steps)
            if scored:
                scores[steps.order] = self._marginals(self._wide(own), steps).gather(1, best[:, None])[:, 0].float()
        return tags, scores

    @torch.no_grad()
    def marginals(self, emissions: Tensor, offsets: Tensor) -> Tensor:
        """Return the probability of every tag at each row, fp32 (M, C); arguments as of `decode`."""
        emissions, offsets = emissions.to(self.start.device), offsets.to(self.start.device)
        found = torch.zeros(emissions.shape, dtype=torch.float32, device=emissions.device)
        lengths = torch.diff(offsets)
        chains = (lengths > 0).nonzero()[:, 0]
        if len(chains):
            steps = _steps(offsets[chains], lengths[chains])
            found[steps.order] = self._marginals(self._wide(emissions[steps.order]), steps).float()
        return found

    def _is_small(self, steps: _Steps) -> bool:
        return self.start.device.type == "cpu" and steps.alive(0) * len(self.start) ** 2 <= _FEW

    def _viterbi(self, emissions: Tensor, steps: _Steps) -> Tensor:
        """Return the best tags (M,) in the order of `steps`."""
        to_from = self.transitions.masked_fill(~self.allowed, -torch.inf).T.contiguous()  # (C to, C from)
        start = self.start.masked_fill(~self.first, -torch.inf)
        if self._is_small(steps):
            return crf_on_cpu.viterbi(emissions, steps.bounds, start, self.end.detach(), to_from)
        best = emissions[steps.slice(0)] + start
        back: list[Tensor] = []
        finals: list[Tensor] = []  # best last tag of the chains that end at each step
        for step in range(len(steps)):
            stopping.check(step)
            if step:
                top, came = (best[:, None, :] + to_from).max(dim=2)
                back.append(came)
                best = top + emissions[steps.slice(step)]
            going = steps.alive(step + 1)
            finals.append((best[going:] + self.end).argmax(dim=1))
            best = best[:going] - best[:going].amax(dim=1, keepdim=True)  # only differences count; keeps fp32 exact enough
        tags = torch.empty(len(emissions), dtype=torch.long, device=emissions.device)
        current = finals[-1][:0]
        for step in reversed(range(len(steps))):
            if step + 1 < len(steps):
                current = back[step].gather(1, current[:, None])[:, 0]
            current = torch.cat([current, finals[step]])
            tags[steps.slice(step)] = current
        return tags

    def _marginals(self, emissions: Tensor, steps: _Steps) -> Tensor:
        """Return the probability (M, C) of each tag at each row, in the order of `steps` (forward-backward)."""
        start = self._wide(self.start).masked_fill(~self.first, -torch.inf)
        if self._is_small(steps):
            end, least = self._wide(self.end).detach(), _TINY[emissions.dtype]
            return crf_on_cpu.marginals(emissions, steps.bounds, start, end, self._weights(), least)
        _, alphas = self._forward(emissions, steps, start, keep=True)
        assert alphas is not None
        weights, end = self._weights().T.contiguous(), self._wide(self.end)
        marginals = torch.empty_like(alphas)
        beta = end.expand(0, -1)
        for step in reversed(range(len(steps))):
            stopping.check(step)
            if step + 1 < len(steps):
                ahead = beta + emissions[steps.slice(step + 1)]
                largest = ahead.amax(dim=1, keepdim=True)
                beta = ((ahead - largest).exp() @ weights).clamp_min(_TINY[ahead.dtype]).log() + largest
            beta = torch.cat([beta, end.expand(steps.alive(step) - len(beta), -1)])
            marginals[steps.slice(step)] = torch.softmax(alphas[steps.slice(step)] + beta, dim=1)
        return marginals
