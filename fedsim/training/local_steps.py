"""The optimiser steps of one client in one round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedsim.training.losses import Loss, label_weights


@dataclass(frozen=True, kw_only=True)
class StepRules:
    """How a batch becomes a step, the same for all clients.

    Attributes:
        loss: what is minimised.
        proximal: μ of FedProx (Li et al. 2020): μ/2 ‖w - w_global‖² is added to the loss.
        clip_norm: length to which the gradient is shortened, if it is longer.
        micro_batches: pieces in which a batch is computed, one after another, to save memory.
        amp: the type that matrices are multiplied in, if not that of the parameters.
        channels_last: images with their channels innermost, which some processors are faster with.
    """

    loss: Loss
    proximal: float = 0.0
    clip_norm: float | None = None
    micro_batches: int = 1
    amp: torch.dtype | None = None
    channels_last: bool = False


def piece_sizes(batch_size: int, micro_batches: int) -> list[int]:
    """Samples of each piece of a batch, as equal as they can be; of two samples at least.

    >>> piece_sizes(8, 3), piece_sizes(3, 3)
    ([3, 3, 2], [3])
    """
    pieces = max(1, min(micro_batches, batch_size // 2))
    return [batch_size // pieces + (piece < batch_size % pieces) for piece in range(pieces)]


class LocalSteps:
    """Takes the steps of one client in one round.

    Args:
        forward: the model, or what it was compiled to.
        parameters: those that are trained, at their global values now.
        class_weights: of the loss [C], if classes differ.
    """

    def __init__(
        self,
        rules: StepRules,
        forward: Callable[[Tensor], Tensor],
        parameters: Sequence[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        class_weights: Tensor | None,
    ) -> None:
        self._rules, self._forward, self._parameters, self._optimizer = rules, forward, parameters, optimizer
        self._device = parameters[0].device
        self._class_weights = None if class_weights is None else class_weights.to(self._device)
        self._start = [parameter.detach().clone() for parameter in parameters] if rules.proximal else []
        # float16 has so little room for small gradients that the loss must be scaled up. A round is short, so the
        # scale starts where an overflow, which costs a step, is rare.
        scaled = rules.amp == torch.float16
        self._scaler = torch.amp.GradScaler(self._device.type, init_scale=2.0**10) if scaled else None

    def backward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradient of a batch in the parameters' ``.grad``; its loss (without the proximal term)."""
        self._optimizer.zero_grad()
        labels = labels.to(self._device)
        if self._rules.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        total = torch.zeros((), device=self._device)
        for piece, of_piece, share in self._pieces(inputs, labels):
            with self._precision():
                loss = self._rules.loss.mean(self._forward(piece).float(), of_piece, self._class_weights)
            loss = loss if share is None else loss * share
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()
            total = loss.detach() if share is None else total + loss.detach()
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        if self._rules.proximal:
            self._add_proximal_gradient()
        if self._rules.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._rules.clip_norm)
        return total

    def step(self) -> None:
        """Take the step; under float16 none where the gradient overflowed."""
        if self._scaler is None:
            self._optimizer.step()
        else:
            self._scaler.step(self._optimizer)
            self._scaler.update()

    def _add_proximal_gradient(self) -> None:
        gradients, now, then = [], [], []
        for parameter, start in zip(self._parameters, self._start, strict=True):
            if parameter.grad is not None:
                gradients.append(parameter.grad)
                now.append(parameter.detach())
                then.append(start)
        if gradients:  # as lists: a few kernels on a GPU, instead of two for each parameter
            torch._foreach_add_(gradients, torch._foreach_sub(now, then), alpha=self._rules.proximal)

    def _precision(self) -> AbstractContextManager[object]:
        return nullcontext() if self._rules.amp is None else torch.autocast(self._device.type, dtype=self._rules.amp)

    def _pieces(self, inputs: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """Inputs and labels of each piece, and its share in the batch's loss.

        The share is None where the batch is one piece, so that nothing is multiplied then.
        """
        sizes = piece_sizes(len(labels), self._rules.micro_batches)
        if len(sizes) == 1:
            return [(inputs, labels, None)]
        weights = label_weights(labels, self._class_weights)
        total = weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
        parts = zip(inputs.split(sizes), labels.split(sizes), weights.split(sizes), strict=True)
        return [(piece, of_piece, part.sum() / total) for piece, of_piece, part in parts]
