"""The adaptive server optimisers of FedOpt (Reddi et al. 2021, Adaptive Federated Optimization, algorithm 2).

With Δ the aggregate, m ← β₁ m + (1 - β₁) Δ, then v ← v + Δ² (Adagrad), β₂ v + (1 - β₂) Δ² (Adam) or
v - (1 - β₂) Δ² sgn(v - Δ²) (Yogi), and w ← w - η m / (√v + τ). They differ from torch's Adam in that nothing is
corrected for its start: v starts at τ², and τ is large.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class _Adaptive(torch.optim.Optimizer):
    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-2, betas: tuple[float, float] = (0.9, 0.99), tau: float = 1e-3
    ) -> None:
        first, second = betas
        if not (lr >= 0 and 0 <= first < 1 and 0 <= second < 1 and tau > 0):
            raise ValueError("lr may not be negative, betas lie in [0, 1), tau is positive")
        super().__init__(params, {"lr": lr, "betas": (first, second), "tau": tau})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            (first, second), tau = group["betas"], group["tau"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state, gradient = self.state[parameter], parameter.grad
                if not state:
                    state["m"] = torch.zeros_like(parameter)
                    state["v"] = torch.full_like(parameter, tau**2)
                state["m"].mul_(first).add_(gradient, alpha=1 - first)
                self._accumulate(state["v"], gradient.square(), second)
                parameter.addcdiv_(state["m"], state["v"].sqrt().add_(tau), value=-group["lr"])

    def _accumulate(self, v: Tensor, square: Tensor, beta: float) -> None:
        raise NotImplementedError


class FedAdagrad(_Adaptive):
    """v ← v + Δ²."""

    def _accumulate(self, v: Tensor, square: Tensor, beta: float) -> None:
        v.add_(square)


class FedAdam(_Adaptive):
    """v ← β₂ v + (1 - β₂) Δ².

    >>> w = torch.zeros(1)
    >>> optimizer = FedAdam([w], lr=1.0, betas=(0.0, 0.0), tau=1.0)
    >>> w.grad = torch.tensor([3.0])
    >>> optimizer.step()
    >>> w.tolist()
    [-0.75]
    """

    def _accumulate(self, v: Tensor, square: Tensor, beta: float) -> None:
        v.mul_(beta).add_(square, alpha=1 - beta)


class FedYogi(_Adaptive):
    """v ← v - (1 - β₂) Δ² sgn(v - Δ²)."""

    def _accumulate(self, v: Tensor, square: Tensor, beta: float) -> None:
        v.addcmul_(square, torch.sign(v - square), value=beta - 1)
