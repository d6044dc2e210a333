"""The global model on one rank: a module, and its values as one flat tensor that all ranks hold alike."""

import torch
from torch import Tensor, nn

from fedsim.updates.model_rows import ModelRows


class GlobalModel:
    """Parameters and float buffers of the global model.

    Attributes:
        rows: the module that clients train and evaluation uses, read and written as flat rows.
        state: global parameters and buffers [D + D_b]; every rank holds the same bits.

    >>> model = GlobalModel(ModelRows(nn.Linear(2, 1)))
    >>> model.num_parameters, model.num_buffers, model.state.shape
    (3, 0, torch.Size([3]))
    """

    def __init__(self, rows: ModelRows) -> None:
        self.rows = rows
        self.state: Tensor = torch.cat(rows.read())

    @property
    def num_parameters(self) -> int:
        """D."""
        return self.rows.layout.size

    @property
    def num_buffers(self) -> int:
        """D_b."""
        return self.rows.buffer_layout.size

    def named(self) -> dict[str, Tensor]:
        """Views of the global values, by the names that they have in the module.

        >>> list(GlobalModel(ModelRows(nn.Linear(2, 1))).named())
        ['weight', 'bias']
        """
        parameters, buffers = self.state.split([self.num_parameters, self.num_buffers])
        return {**self.rows.layout.views(parameters), **self.rows.buffer_layout.views(buffers)}

    def module(self) -> nn.Module:
        """The module with the global values."""
        parameters, buffers = self.state.split([self.num_parameters, self.num_buffers])
        self.rows.load(parameters, buffers)
        return self.rows.model

    def module_values(self) -> Tensor:
        """The values [D + D_b] that the module holds now, for example those of the client that trained last."""
        return torch.cat(self.rows.read())

    def is_finite(self) -> bool:
        """Whether no value is NaN or infinite."""
        return bool(self.state.sum(dtype=torch.float64).isfinite())

    def checksum(self) -> Tensor:
        """Wrapping sum of the bits, int64, on the CPU: equal on all ranks that hold the same values."""
        return self.state.view(torch.int32).sum(dtype=torch.int64).cpu()
