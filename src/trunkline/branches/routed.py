"""One routing of a sequence of vectors to another (Heinsen 2022, "An Algorithm for Routing Vectors in Sequences").

I input vectors x_i, of d numbers each, become J output vectors y_j of h numbers, so that those predict these. All sums over i
are of inputs scaled by I^-1/2. Each input is active by a_i = sigmoid(w_i x_i + c_i), and each output gets a share r_ij of it:
1 / J at first, and then

    r_i = softmax_j log sigmoid(s_ij x_i p_j + t_ij),    p_j = (N(y_j) G1) * G2_j + g_j     what y_j predicts of the inputs

It uses that share at a benefit, and ignores the rest of x_i at a cost, which makes its contribution

    phi_ij = use_ij a_i r_ij - ignore_ij a_i (1 - r_ij),    y_j = sum_i phi_ij ((x_i * F1_j) F2 + f_j)

The last y are normalised, unless they are single numbers. Where the number of inputs varies, all inputs share w, c, s and t,
and use and ignore are linear in x_i; otherwise each input has its own. This is `EfficientVectorRouting` of the published code
(github.com/glassroom/heinsen_routing), its first weights too, for sequences of different length, and for one output as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class VectorRouting(nn.Module):
    """See the module's docstring.

    Args:
        inputs: I; None if it varies.
        outputs: J.
        wide: d.
        out: h.
        iterations: at least 2, or the weights of predictions would not be used.
    """

    def __init__(self, inputs: int | None, outputs: int, wide: int, out: int, iterations: int) -> None:
        super().__init__()
        self.varies, self.outputs, self.out, self.iterations = inputs is None, outputs, out, iterations
        each = inputs or 1

        def normal(*shape: int, std: float = 1.0) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape) * std)

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape))

        self.active, self.active_bias = normal(each, wide, std=2 * wide**-0.5), zeros(each)  # w, c
        self.vote_out, self.vote, self.vote_bias = (
            normal(outputs, wide),
            normal(wide, out, std=2 * wide**-0.5),
            zeros(outputs, out),
        )  # F1, F2, f
        self.guess, self.guess_out, self.guess_bias = (
            normal(out, wide, std=out**-0.5),
            normal(outputs, wide),
            zeros(outputs, wide),
        )  # G1, G2, g
        self.alike, self.alike_bias = normal(each, outputs, std=wide**-0.5), zeros(each, outputs)  # s, t
        if inputs is None:
            use, ignore = nn.Linear(wide, outputs), nn.Linear(wide, outputs)
            self.use, self.use_bias, self.ignore, self.ignore_bias = use.weight, use.bias, ignore.weight, ignore.bias
        else:
            self.use, self.ignore = normal(inputs, outputs), normal(inputs, outputs)

    def forward(
        self, parts: Sequence[Tensor], count: Tensor | float, real: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Route B sequences at once.

        Args:
            parts: what their inputs consist of, (B, I', d) each: all the inputs, or some of them in each part, so that what is
                made of them need not be held for all of them at once.
            count: I, of each sequence (B,) or of all.
            real: bool (B, I'), true where a part has an input and no padding; None if all are.

        Returns:
            y (B, J, h), and phi of each part (B, I', J).
        """
        scale = count**-0.5
        scale = scale[:, None, None] if isinstance(scale, Tensor) else scale
        seen = [self._seen(x, scale, real) for x in parts]
        y, contributed = None, list[Tensor]()
        for _ in range(self.iterations):
            guessed = None if y is None else self._normed(y) @ self.guess * self.guess_out + self.guess_bias  # (B, J, d)
            contributed = [self._contributed(x, guessed, *own) for x, own in zip(parts, seen, strict=True)]
            sums = [phi.transpose(1, 2) @ x for phi, x in zip(contributed, parts, strict=True)]
            total = torch.stack(sums).sum(0) * scale  # (B, J, d): sum_i phi_ij x_i
            weight = torch.stack([phi.sum(1) for phi in contributed]).sum(0)[..., None]  # (B, J, 1)
            y = (total * self.vote_out) @ self.vote + weight * self.vote_bias
        assert y is not None
        return self._normed(y), contributed

    def _seen(self, x: Tensor, scale: Tensor | float, real: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Of some inputs a (B, I', 1), use and ignore (B or 1, I', J): the same in every iteration."""
        # A product of matrices, as OpenVINO 2026.4 computes a sum over products and a bias for each input of it wrongly.
        sums = F.linear(x, self.active) if self.varies else (x.unsqueeze(2) @ self.active.unsqueeze(2)).squeeze(-1)
        active = torch.sigmoid(sums * scale + self.active_bias[:, None])
        if real is not None:
            active = active * real[..., None]  # padding contributes nothing
        if not self.varies:
            return active, self.use[None], self.ignore[None]
        return active, F.linear(x, self.use, self.use_bias), F.linear(x, self.ignore, self.ignore_bias)

    def _contributed(self, x: Tensor, guessed: Tensor | None, active: Tensor, use: Tensor, ignore: Tensor) -> Tensor:
        """phi of some inputs, (B, I', J)."""
        if guessed is None:
            share: Tensor | float = 1 / self.outputs
        else:
            share = torch.softmax(F.logsigmoid(x @ guessed.transpose(1, 2) * self.alike + self.alike_bias), -1)
        return active * (use * share - ignore * (1 - share))

    def _normed(self, y: Tensor) -> Tensor:
        return F.layer_norm(y, (self.out,)) if self.out > 1 else y
