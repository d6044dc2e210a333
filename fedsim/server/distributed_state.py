"""The state of a server whose columns are distributed over ranks, as one state of the whole, and back.

In a state every tensor whose last dimension is that of the columns is a vector over them: over all that the defence
sees, or over the parameters alone. Checkpoints hold whole vectors, whatever the number of ranks, so that a run can go
on with another one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fedsim.updates.columns import Columns
from fedsim.updates.row_columns import RowColumns


def whole_state(state: Any, columns: RowColumns) -> Any:
    """The state in which each vector over the columns is whole, on rank 0. All ranks call it alike.

    Elsewhere nothing is put together: of a method that keeps the rows of clients, the state is as large as they are.

    Args:
        state: tensors, numbers, strings and nothing else, in mappings, lists and tuples.
    """
    kinds = columns.of_vectors
    if not kinds:
        return state
    tensors: list[Tensor] = []
    _map_tensors(state, lambda tensor: tensors.append(tensor) or tensor)  # type: ignore[func-returns-value]
    fits = torch.tensor([[[_fits(tensor, kind.here) for tensor in tensors] for kind in kinds]])
    on_all_ranks = torch.cat(columns.exchange.gather(fits)).all(0).T.tolist()
    wholes = iter([_whole(tensor, kinds, which) for tensor, which in zip(tensors, on_all_ranks, strict=True)])
    return _map_tensors(state, lambda tensor: next(wholes))


def local_state(state: Any, columns: RowColumns) -> Any:
    """This rank's part of a state that holds whole vectors over the columns."""
    kinds = columns.of_vectors

    def cut(tensor: Tensor) -> Tensor:
        for kind in kinds:
            if _fits(tensor, kind.total):
                return kind.cut_out(tensor).clone()
        return tensor

    return _map_tensors(state, cut) if kinds else state


def whole_row(local: Tensor | None, columns: RowColumns) -> Tensor | None:
    """The vector [D + D_b] of which each rank has a local part; on every rank."""
    if local is None or columns.seen is None:
        return local
    return torch.cat([*_in_order(local, columns)])


def _in_order(local: Tensor, columns: RowColumns) -> Sequence[Tensor]:
    parts = columns.exchange.gather(local.cpu())
    seen = [part[: stop - start] for part, ((start, stop), *_) in zip(parts, columns.ranges, strict=True)]
    return [*seen, parts[0][len(seen[0]) :]]


def _fits(tensor: Tensor, columns: int) -> bool:
    return tensor.shape[-1:] == torch.Size((columns,))


def _whole(tensor: Tensor, kinds: Sequence[Columns], which: Sequence[bool]) -> Tensor:
    """The whole of a vector that belongs to one of the kinds of columns, or of none."""
    for kind, fits in zip(kinds, which, strict=True):
        if fits:
            parts = kind.exchange.gather(tensor.cpu().movedim(-1, 0).contiguous())
            return torch.cat(parts).movedim(0, -1).contiguous() if kind.exchange.rank == 0 else tensor
    return tensor


def _map_tensors(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, Mapping):
        return {key: _map_tensors(item, change) for key, item in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_map_tensors(item, change) for item in state)
    return state
