"""The optimiser steps of several clients at once: their parameters are the rows of one matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fedsim.training.local_steps import StepRules, piece_sizes
from fedsim.training.vectorized_batches import GroupBatch
from fedsim.updates.layout import RowLayout


class VectorizedSteps:
    """Takes the steps of the clients of a group, those with most steps first, so that those that go on are the first.

    The optimiser sees one tensor, the matrix of all parameters. It must treat every value by itself:
    :func:`fedsim.training.vectorized_checks.require_elementwise`.

    Args:
        model: in training mode.
        layout: of a row.
        start: parameters [D] that all clients start from.
        clients: how many.
        make_optimizer: from the matrix to its optimiser.
    """

    def __init__(
        self,
        rules: StepRules,
        model: nn.Module,
        layout: RowLayout,
        start: Tensor,
        clients: int,
        make_optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
    ) -> None:
        self._rules, self._model, self._layout, self._start = rules, model, layout, start
        self.rows = start.repeat(clients, 1)
        """Parameters of each client [clients, D]."""
        self._active = self.rows.view_as(self.rows).requires_grad_()
        self._optimizer = make_optimizer([self._active])

    def keep(self, active: int) -> None:
        """Go on with the first ``active`` clients; the others have finished."""
        old = self._active
        if active == len(old):
            return
        self._active = self.rows[:active].requires_grad_()
        self._optimizer.param_groups[0]["params"] = [self._active]
        state = self._optimizer.state.pop(old, {})
        self._optimizer.state[self._active] = {
            name: value[:active] if isinstance(value, Tensor) and value.shape == old.shape else value
            for name, value in state.items()
        }

    def backward(self, batch: GroupBatch) -> Tensor:
        """Leave the gradients in :attr:`gradients`; each client's loss [A] (without the proximal term)."""
        self._optimizer.zero_grad()
        sizes = piece_sizes(batch.labels.shape[1], self._rules.micro_batches)
        total = torch.zeros(len(batch.labels), device=self.rows.device)
        parts = (part.split(sizes, dim=1) for part in (batch.inputs, batch.labels, batch.weights))
        for inputs, labels, weights in zip(*parts, strict=True):
            of_labels = self._rules.loss.of_labels(self._logits(inputs).flatten(0, 1), labels.flatten(0, 1))
            losses = (weights * of_labels.view_as(weights)).flatten(1).sum(dim=1)
            losses.sum().backward()  # no client's loss depends on another's parameters
            total += losses.detach()
        if self._rules.proximal:
            self.gradients.add_(self._active.detach() - self._start, alpha=self._rules.proximal)
        if self._rules.clip_norm is not None:
            self._clip(self._rules.clip_norm)
        return total

    def step(self) -> None:
        """Take the step."""
        self._optimizer.step()

    @property
    def gradients(self) -> Tensor:
        """Of the clients that go on [A, D]."""
        assert self._active.grad is not None, "after a backward pass"
        return self._active.grad

    def _logits(self, inputs: Tensor) -> Tensor:
        def of_client(row: Tensor, own: Tensor) -> Tensor:
            logits: Tensor = functional_call(self._model, self._layout.views(row), (own,))
            return logits

        logits: Tensor = vmap(of_client)(self._active, inputs)
        return logits.float()

    def _clip(self, longest: float) -> None:
        """What torch.nn.utils.clip_grad_norm_ does, for each client."""
        norms = self.gradients.norm(dim=1, keepdim=True)
        self.gradients.mul_((longest / (norms + 1e-6)).clamp(max=1.0))
