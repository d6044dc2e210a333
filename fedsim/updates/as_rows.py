"""Rows as users have them, in a notebook: lists and numpy arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RowsLike = Tensor | NDArray[Any] | Sequence[Any]
"""A matrix [K, D] of numbers, or a list of K rows."""


def as_rows(values: RowsLike) -> Tensor:
    """A tensor [K, D]: the tensor itself, an array in its own precision, and a list, or whole numbers, in torch's.

    Raises:
        ValueError: it is no matrix of numbers.

    >>> as_rows([[1, 2], [3, 4]])
    tensor([[1., 2.],
            [3., 4.]])
    >>> as_rows(np.ones((1, 2))).dtype, as_rows([np.ones(2), torch.ones(2)]).shape
    (torch.float64, torch.Size([2, 2]))
    """
    if isinstance(values, Tensor):
        return values
    if not isinstance(values, np.ndarray) and any(isinstance(row, Tensor | np.ndarray) for row in values):
        return torch.stack([as_rows(row) for row in values])
    try:
        array = np.array(values)  # a copy, which torch may write to as far as numpy knows
    except ValueError as error:
        raise ValueError(f"rows must be a matrix [K, D] of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"rows must be a matrix [K, D] of numbers, not of {array.dtype}")
    keeps = isinstance(values, np.ndarray) and array.dtype.kind == "f"
    tensor = torch.from_numpy(array)
    return tensor if keeps else tensor.to(torch.get_default_dtype())
