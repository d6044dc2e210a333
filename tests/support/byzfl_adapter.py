"""ByzFL's classes by name and parameters, computed by fedsim: what ByzFL's own examples and tests are run on.

A stand-in for the module ``byzfl``. It converts what comes in and what goes out and names our methods; it computes
nothing. Its classes do not check arguments as ByzFL's do.
"""

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import AttackView, build_attack
from fedsim.attacks.probe import Probed
from support.aggregation import transform

Array: TypeAlias = NDArray[Any]
Result: TypeAlias = Tensor | Array
Vectors: TypeAlias = Tensor | Array | list[Tensor] | list[Array]


def rows_of(vectors: Vectors) -> Tensor:
    """The vectors as a matrix [K, D] of their own dtype."""
    if isinstance(vectors, list):
        return torch.stack([torch.as_tensor(vector) for vector in vectors])
    return torch.as_tensor(vectors)


def as_given(result: Tensor, vectors: Vectors) -> Result:
    """The result in the type of the vectors: arrays give an array."""
    return result.numpy() if isinstance(vectors[0], np.ndarray) else result


# Aggregators ---------------------------------------------------------------------------------------


class _Aggregator:
    def __init__(self, name: str, **settings: Any) -> None:
        self.method = build_aggregator(name, **settings)

    def __call__(self, vectors: Vectors) -> Result:
        return as_given(self.method(rows_of(vectors)), vectors)


class Average(_Aggregator):
    def __init__(self) -> None:
        super().__init__("fedavg")


class Median(_Aggregator):
    def __init__(self) -> None:
        super().__init__("cwmed")


class TrMean(_Aggregator):
    def __init__(self, f: int = 0) -> None:
        super().__init__("cwtm", num_byzantine=f)


class GeometricMedian(_Aggregator):
    def __init__(self, nu: float = 0.1, T: int = 3) -> None:
        super().__init__("rfa", smoothing=nu, iterations=T)


class Krum(_Aggregator):
    def __init__(self, f: int = 0) -> None:
        super().__init__("krum", num_byzantine=f)


class MultiKrum(_Aggregator):
    def __init__(self, f: int = 0) -> None:
        super().__init__("multi_krum", num_byzantine=f)


class CenteredClipping(_Aggregator):
    def __init__(self, m: Result | None = None, L: int = 1, tau: float = 100.0) -> None:
        super().__init__("centered_clipping", iterations=L, radius=tau)
        if m is not None:
            self.method.load_state_dict({"reference": torch.as_tensor(m)})


class MDA(_Aggregator):
    def __init__(self, f: int = 0) -> None:
        super().__init__("mda", num_byzantine=f)


class Meamed(_Aggregator):
    def __init__(self, f: int = 0) -> None:
        super().__init__("meamed", num_byzantine=f)


class CAF(_Aggregator):
    def __init__(self, f: int = 0) -> None:
        super().__init__("caf", num_byzantine=f)


# Pre-aggregators -----------------------------------------------------------------------------------


class _PreAggregator:
    def __init__(self, name: str, **settings: Any) -> None:
        self.method = pre_aggregators.build(name, **settings)

    def __call__(self, vectors: Vectors) -> Result:
        return as_given(transform(self.method, rows_of(vectors)), vectors)


class NNM(_PreAggregator):
    def __init__(self, f: int = 0) -> None:
        super().__init__("nnm", num_byzantine=f)


class Bucketing(_PreAggregator):
    def __init__(self, s: int = 1) -> None:
        super().__init__("bucketing", bucket_size=s)


class Clipping(_PreAggregator):
    def __init__(self, c: float = 2.0) -> None:
        super().__init__("clipping", radius=c)


class ARC(_PreAggregator):
    def __init__(self, f: int = 0) -> None:
        super().__init__("arc", num_byzantine=f)


# Attacks -------------------------------------------------------------------------------------------


class _Attack:
    """The row that the first Byzantine client sends; its own row is zero, as it has not trained."""

    num_byzantine = 1
    defence: Probed | None = None

    def __init__(self, name: str, **settings: Any) -> None:
        self.method = build_attack(name, **settings)

    def own(self, honest: Tensor) -> Tensor:
        """The rows [B, D] of the Byzantine clients."""
        return torch.zeros(self.num_byzantine, honest.shape[1], dtype=honest.dtype)

    def __call__(self, honest_vectors: Vectors) -> Result:
        honest = rows_of(honest_vectors)
        view = AttackView(honest=honest, own=self.own(honest), aggregator=self.defence)  # type: ignore[arg-type]
        return as_given(self.method(view)[0], honest_vectors)


class _OfTheMean(_Attack):
    """ByzFL's attacker acts on the mean of the rows it is given: for ours that mean is its own row."""

    def own(self, honest: Tensor) -> Tensor:
        return build_aggregator("fedavg")(honest)[None]


class SignFlipping(_OfTheMean):
    def __init__(self) -> None:
        super().__init__("sign_flip")


class LabelFlipping(_OfTheMean):
    def __init__(self) -> None:
        super().__init__("label_flip")


class InnerProductManipulation(_Attack):
    def __init__(self, tau: float = 2.0) -> None:
        super().__init__("ipm", epsilon=tau)


class ALittleIsEnough(_Attack):
    """ByzFL adds standard deviations to the mean, fedsim takes them away."""

    def __init__(self, tau: float = 1.5) -> None:
        super().__init__("alie", z=-tau)


class Mimic(_Attack):
    """After the warm-up, with the target ``epsilon``: ByzFL's attacker is given the client to copy, ours finds it."""

    def __init__(self, epsilon: int = 0) -> None:
        super().__init__("mimic", warmup_rounds=1)
        self.method.load_state_dict({"mean": None, "direction": None, "rounds": 1, "target": epsilon})


class Inf(_Attack):
    def __init__(self) -> None:
        super().__init__("nonfinite", share=1.0)


class Gaussian(_Attack):
    def __init__(self, mu: float = 0.0, sigma: float = 1.0) -> None:
        if mu != 0:
            raise ValueError("the mean of fedsim's noise is zero")
        super().__init__("gaussian", std=sigma)


class _Optimal(_Attack):
    def __init__(
        self,
        name: str,
        agg: _Aggregator | None,
        pre_agg_list: list[_PreAggregator] | None,
        f: int,
    ) -> None:
        super().__init__(name)
        pre = [Clipping()] if pre_agg_list is None else pre_agg_list
        self.num_byzantine = f
        self.defence = Defence((agg or Average()).method, [one.method for one in pre])


class Optimal_InnerProductManipulation(_Optimal):  # noqa: N801
    def __init__(
        self, agg: _Aggregator | None = None, pre_agg_list: list[_PreAggregator] | None = None, f: int = 1
    ) -> None:
        super().__init__("opt_ipm", agg, pre_agg_list, f)


class Optimal_ALittleIsEnough(_Optimal):  # noqa: N801
    def __init__(
        self, agg: _Aggregator | None = None, pre_agg_list: list[_PreAggregator] | None = None, f: int = 1
    ) -> None:
        super().__init__("opt_alie", agg, pre_agg_list, f)
