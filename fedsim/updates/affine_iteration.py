"""Points that move as affine combinations of rows: Weiszfeld's, Huber's and clipping iterations without touching D.

Each step of these methods moves a point by a weighted sum of its differences to the rows, so the point
is always v = sum_i a_i x_i with sum_i a_i = 1, where x_i are the rows and the point it started from.
Then v - x_k = sum_i (a_i - [i = k]) x_i has coefficients that sum to zero, and with the Gram matrix X of
these points about any centre, its squared length is c^T X c: K x K numbers instead of K x D.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from fedsim.updates.gram import crowded_row, gram_as_seen_from
from fedsim.updates.matrix import UpdateMatrix

NEAR = 1e-7
"""Squared lengths below this share of what they are summed from have cancelled, and are computed directly."""


class AffineIterate:
    """A point that begins at ``start`` (zero if none is given) and moves towards the rows of ``updates``.

    It reads the rows once for the Gram matrix and once for :meth:`point`; only a distance that nearly
    vanishes costs a further pass, because its sum over the Gram matrix cancels.

    >>> point = AffineIterate(UpdateMatrix(torch.tensor([[3.0, 4.0], [6.0, 8.0]])))
    >>> point.distances()
    tensor([ 5., 10.], dtype=torch.float64)
    >>> point.step_towards(torch.tensor([0.25, 0.5]))
    >>> point.point()
    tensor([3.7500, 5.0000])
    >>> point.move_to_mean(torch.tensor([1.0, 0.0]))
    >>> point.point(), point.last_move()
    (tensor([3., 4.]), 1.25)
    """

    def __init__(self, updates: UpdateMatrix, start: Tensor | None = None) -> None:
        self._updates, self._start = updates, start
        gram = pad(updates.gram(), (0, 1, 0, 1)) if start is None else self._points().gram()
        self._gram = gram.cpu()
        crowded = crowded_row(self._gram)
        if crowded is not None:  # rows that nearly coincide are seen from one of them, or their digits cancel
            self._gram = gram_as_seen_from(self._points(), crowded).cpu()
        self._norms = self._gram.diagonal().sqrt()
        self._coefficients = torch.zeros(len(self._gram), dtype=torch.float64)
        self._coefficients[-1] = 1
        self._before = self._coefficients

    def _points(self) -> UpdateMatrix:
        """The rows, then where the iteration started."""
        start, updates = self._start, self._updates
        if start is None:
            start = torch.zeros((), dtype=updates.dtype, device=updates.device).expand(updates.local_columns)
        return updates.extend(start.to(updates.device)[None])

    def distances(self) -> Tensor:
        """Distance [K] of the point to each row, float64."""
        differences = self._coefficients.repeat(len(self._coefficients) - 1, 1)
        # a_k - 1 would lose the digits of a_k; that the coefficients sum to zero gives it exactly.
        differences.fill_diagonal_(0)
        differences.diagonal().copy_(-differences.sum(1))
        return self._lengths(differences)

    def step_towards(self, shares: Tensor) -> None:
        """Add the sum of ``shares`` [K] times (row - point), each taken from where the point is now."""
        self._move((1 - float(shares.double().sum())) * self._coefficients, shares)

    def move_to_mean(self, weights: Tensor) -> None:
        """Go to the weighted mean of the rows; weights [K], not all zero."""
        wide = weights.double()
        self._move(torch.zeros_like(self._coefficients), wide / wide.sum())

    def last_move(self) -> float:
        """How far the last move went."""
        return float(self._lengths((self._coefficients - self._before)[None]))

    def point(self) -> Tensor:
        """The point itself [D]."""
        if self._start is None or self._coefficients[-1] == 0:
            return self._updates.weighted_sum(self._coefficients[:-1])
        return self._points().weighted_sum(self._coefficients)

    def _move(self, stays: Tensor, gains: Tensor) -> None:
        self._before = self._coefficients
        self._coefficients = stays.clone()
        self._coefficients[:-1] += gains.double().cpu()

    def _lengths(self, differences: Tensor) -> Tensor:
        """Lengths [M] of combinations [M, K+1] of rows whose coefficients sum to zero."""
        squares = (differences @ self._gram * differences).sum(1)
        cancelled = squares < NEAR * (differences.abs() @ self._norms).square()
        if bool(cancelled.any()):
            squares[cancelled] = self._squared_lengths_directly(differences[cancelled])
        return squares.sqrt()

    def _squared_lengths_directly(self, differences: Tensor) -> Tensor:
        """By a pass over the rows, as seen from the row with the largest coefficient."""
        pivots = differences.abs().argmax(1).tolist()
        points = self._points()
        weights = differences.to(points.device)

        def squares(block: Tensor) -> Tensor:
            wide = block.double()
            sums = [of @ (wide - wide[pivot]) for of, pivot in zip(weights, pivots, strict=True)]
            return torch.stack(sums).square().sum(1)

        return points.sum_over_blocks(squares).cpu()
