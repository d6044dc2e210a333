"""LASA: layer-adaptive sparsified aggregation."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.aggregators.fedseca import clip_factors
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.column_maps import column_map
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import sum_rows
from fedsim.updates.quantiles import as_threshold
from fedsim.updates.rounding import TIE
from fedsim.updates.row_statistics import RowStatistic


class Layer(NamedTuple):
    """Columns [start, stop) of the row; ``is_weight`` where their tensor has dimension 2 or 4."""

    start: int
    stop: int
    is_weight: bool


def layers_of(layout: RowLayout | None, columns: int) -> list[Layer]:
    """The layers of a row of D columns, empty ones left out.

    Without a layout the row is one weight layer; columns behind the layout (buffers in the row) are a layer
    that is no weight.

    >>> layers_of(RowLayout({"weight": (2, 3), "bias": (2,)}), 8)
    [Layer(start=0, stop=6, is_weight=True), Layer(start=6, stop=8, is_weight=False)]
    """
    shapes: list[tuple[int, ...]] = [(1, columns)] if layout is None else [*layout.shapes.values()]
    rest = columns - sum(map(prod, shapes))
    if rest < 0:
        raise ValueError(f"the layout has {columns - rest} coordinates, the rows have {columns}")
    shapes.append((rest,))
    layers, start = [], 0
    for shape in shapes:
        layers.append(Layer(start, start + prod(shape), len(shape) in (2, 4)))
        start += prod(shape)
    return [layer for layer in layers if layer.start < layer.stop]


def close_to_median(values: Tensor, limit: float) -> Tensor:
    """Which of ``values`` [K] have a Z-score |x - median| / std below ``limit``; all where std is 0.

    >>> close_to_median(torch.tensor([1.0, 2.0, 3.0, 50.0]).double(), limit=1.0)
    tensor([ True,  True,  True, False])
    """
    deviation = (values - values.quantile(0.5)).abs()
    spread = values.std(correction=0)
    rounding = TIE * values.abs().max()
    return (deviation < limit * spread - rounding) | (spread <= rounding)


@aggregators.register(
    "lasa",
    Reference(
        authors="Xu, Zhang and Hu",
        title="Achieving Byzantine-Resilient Federated Learning via Layer-Adaptive Sparsified Model Aggregation",
        year=2025,
        venue="WACV",
        url="https://arxiv.org/abs/2409.01435",
    ),
)
class Lasa(Aggregator):
    """Per layer, the mean of the sparsified clients whose norm and signs are close to the median.

        t_k    = clip(g_k) with the smallest magnitudes of its weight tensors set to 0
        x_k    = ||t_k|| and (1 + sum sgn(t_k) / sum |sgn(t_k)|) / 2, its purity, in this layer
        z_k    = |x_k - median(x)| / std(x)
        step   = mean of the t_k with z_k < lambda_norm of the norm and z_k < lambda_sign of the purity

    g_k in R^D is the update of client k, clipped to the (lower) median norm of all. ``sparsity`` is the share of the
    values of its weight tensors (dimension 2 or 4), taken together, that is set to 0. z takes the usual median and
    the population's standard deviation. The step has the shape [D].

    It fails against attacks that change neither a layer's norm nor its share of positive signs, such as a
    permutation of its values.

    If no client passes in a layer, all count there; a standard deviation of 0 lets all pass; the purity of a layer
    of zeros is 1/2. The layers come from ``context.layout``; without one, as in a plain call, the whole row is one
    weight layer [ours]. Columns behind the layout (buffers) are a layer that is not sparsified [ours]. The authors'
    code also drops the smallest value that their share would keep, and where a standard deviation is 0 it lets all
    pass both filters, not only that one.

    >>> Lasa(sparsity=0.5)(torch.tensor([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0], [-1.0, -3.0]]))
    tensor([0., 3.])
    """

    class Settings(Schema):
        sparsity: float = Field(0.3, ge=0, lt=1, description="share of the weights of each row that is set to zero")
        lambda_norm: float = Field(1.0, gt=0, description="Z-score of a layer's norm that a client must stay below")
        lambda_sign: float = Field(1.0, gt=0, description="Z-score of a layer's purity to stay below")

    settings: Settings
    shardable = True

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("norms",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        layers = layers_of(context.layout, updates.num_columns)
        factors = clip_factors(updates.row_norms())
        thresholds = self._thresholds(updates, layers)
        kept_all = torch.zeros_like(thresholds)
        parts = [
            (updates.columns([(layer.start, layer.stop)]), thresholds if layer.is_weight else kept_all)
            for layer in layers
        ]
        # All layers before any decision: a GPU then hands over their numbers at once.
        statistics = torch.stack([_statistics(part, threshold) for part, threshold in parts]).cpu()
        benign = torch.stack([self._benign(of_layer, factors.cpu()) for of_layer in statistics])
        shares = torch.where(benign, factors.cpu() / benign.sum(1, keepdim=True), 0.0).to(updates.device)
        pieces = [
            part.map_columns(sum_of_sparsified, threshold, share[:, None])
            for (part, threshold), share in zip(parts, shares, strict=True)
        ]
        kept_share = benign.double().mean(0)
        self.diagnostics = Diagnostics(
            per_client={"clip_factor": factors, "kept_share_of_layers": kept_share}, trust=kept_share
        )
        return torch.cat(pieces)

    def _thresholds(self, updates: UpdateMatrix, layers: Sequence[Layer]) -> Tensor:
        """The smallest magnitude [K, 1] that each client's weights keep; clipping does not change which these are."""
        weights = [(layer.start, layer.stop) for layer in layers if layer.is_weight]
        if not weights:
            return torch.zeros(updates.num_rows, 1, dtype=updates.dtype, device=updates.device)
        quantiles = updates.columns(weights).absolute_quantiles(self.settings.sparsity)
        return as_threshold(quantiles, updates.dtype, inclusive=True)[:, None]

    def _benign(self, statistics: Tensor, factors: Tensor) -> Tensor:
        """Which clients [K] a layer keeps: those that pass both filters, or all if none does."""
        squares, balance, nonzero = statistics
        norms = squares.sqrt() * factors
        purity = (1 + balance / nonzero.clamp(min=1)) / 2
        benign = close_to_median(norms, self.settings.lambda_norm)
        benign &= close_to_median(purity, self.settings.lambda_sign)
        return benign if bool(benign.any()) else torch.ones_like(benign)


def _statistics(part: UpdateMatrix, threshold: Tensor) -> Tensor:
    """Squared norm, sum of the signs and number of the values of each row that are not set to zero [3, K]."""

    def of_block(block: Tensor) -> Tensor:
        survives = block.abs().ge_(threshold)
        signs = block.sign().mul_(survives)
        squares = survives.mul_(block).double().square_()
        return torch.stack(
            [squares.sum(1), signs.sum(1, dtype=torch.float64), signs.abs_().sum(1, dtype=torch.float64)]
        )

    return part.sum_over_blocks(of_block)


@column_map
def sum_of_sparsified(block: Tensor, threshold: Tensor, shares: Tensor) -> Tensor:
    """Sum [b] of the sparsified rows of a layer with shares [K, 1]."""
    return sum_rows(block.abs().ge_(threshold).mul_(block) * shares)
