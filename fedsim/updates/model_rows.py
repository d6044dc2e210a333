"""A model read and written as flat rows: its trainable parameters, and beside them its float buffers."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedsim.updates.layout import RowLayout


def trainable_parameters(model: nn.Module) -> dict[str, Tensor]:
    """What travels in a row, in ``named_parameters`` order; tied weights once, frozen ones not at all."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def travelling_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Float buffers that training may change: all but those of modules whose parameters are all frozen."""
    buffers = {}
    for path, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            continue
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point():
                buffers[f"{path}.{name}".lstrip(".")] = buffer
    return buffers


class ModelRows:
    """A model read and written as two flat rows: parameters [D] and float buffers [D_b].

    Parameters stay ordinary tensors; rows are copied in and out in one pass.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._parameters = trainable_parameters(model)
        self._buffers = travelling_buffers(model)
        self.layout = RowLayout.of(self._parameters)
        self.buffer_layout = RowLayout.of(self._buffers)
        # Counters such as num_batches_tracked do not travel: every client starts from the first value.
        self._counters = {
            name: (buffer, buffer.clone()) for name, buffer in model.named_buffers() if name not in self._buffers
        }

    @torch.no_grad()
    def load(self, row: Tensor, buffers: Tensor) -> None:
        """Set the model to ``row`` [D] and ``buffers`` [D_b]."""
        _copy(self.layout.views(row), self._parameters)
        _copy(self.buffer_layout.views(buffers), self._buffers)
        for buffer, first in self._counters.values():
            buffer.copy_(first)

    @torch.no_grad()
    def read(self) -> tuple[Tensor, Tensor]:
        """New rows (parameters [D], buffers [D_b]) with the model's present values."""
        device = next(self.model.parameters()).device
        row = torch.empty(self.layout.size, device=device)
        buffers = torch.empty(self.buffer_layout.size, device=device)
        _copy(self._parameters, self.layout.views(row))
        _copy(self._buffers, self.buffer_layout.views(buffers))
        return row, buffers

    @torch.no_grad()
    def write_delta(self, row: Tensor, buffers: Tensor, row_out: Tensor, buffers_out: Tensor) -> None:
        """Write ``row - model`` and ``buffers - model`` into the given rows, in one pass, all on one device."""
        _subtract(self.layout, row, self._parameters, row_out)
        _subtract(self.buffer_layout, buffers, self._buffers, buffers_out)

    @torch.no_grad()
    def write_gradient(self, row_out: Tensor) -> None:
        """Write the gradient that lies in the parameters' ``.grad`` (0 where there is none)."""
        for name, view in self.layout.views(row_out).items():
            gradient = self._parameters[name].grad
            view.zero_() if gradient is None else view.copy_(gradient)


def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])


def _subtract(layout: RowLayout, base: Tensor, tensors: Mapping[str, Tensor], out: Tensor) -> None:
    bases, outs = layout.views(base), layout.views(out)
    for name, tensor in tensors.items():
        torch.sub(bases[name], tensor, out=outs[name])
