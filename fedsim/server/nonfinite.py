"""The non-finite policy, in front of every aggregator: one NaN from one client must not end a run."""

from collections.abc import Sequence
from typing import Literal

import torch

from fedsim.errors import NonFiniteError
from fedsim.updates.columns import ALONE, Exchange
from fedsim.updates.matrix import UpdateMatrix

NonFinitePolicy = Literal["drop", "zero", "error"]


def usable_rows(
    matrices: Sequence[UpdateMatrix],
    client_ids: Sequence[int],
    policy: NonFinitePolicy,
    exchange: Exchange = ALONE,
) -> tuple[list[int], list[int]]:
    """Which rows may be aggregated, and the ids of the clients that sent NaN or infinity.

    Args:
        matrices: the matrices [K, *] of a round; a client counts as non-finite if any of its rows is.
        client_ids: row k belongs to ``client_ids[k]``.
        exchange: with ranks that have other columns of the matrices.
        policy: ``drop`` leaves such clients out, ``zero`` keeps them (see :func:`zero_nonfinite`).

    Raises:
        NonFiniteError: under the policy ``error``, naming the clients.

    >>> rows = UpdateMatrix(torch.tensor([[1.0], [float("nan")]]))
    >>> usable_rows([rows], [4, 7], "drop")
    ([0], [7])
    """
    known = [matrix.finite_rows() for matrix in matrices if matrix.num_columns > 0]
    here = torch.tensor([[all(flags) for flags in zip(*known, strict=True)] or [True] * len(client_ids)])
    finite = torch.cat(exchange.gather(here)).all(0).tolist()
    offenders = [client for client, good in zip(client_ids, finite, strict=True) if not good]
    if offenders and policy == "error":
        raise NonFiniteError(
            f"clients {offenders} sent NaN or infinity; runtime.nonfinite is 'error' ('drop' leaves them out)"
        )
    keep = range(len(finite)) if policy == "zero" else [row for row, good in enumerate(finite) if good]
    return list(keep), offenders


def zero_nonfinite(updates: UpdateMatrix) -> UpdateMatrix:
    """The matrix with every row that holds NaN or infinity replaced by zeros (a copy, if there is one)."""
    finite = updates.finite_rows()
    if all(finite):
        return updates
    rows = updates.local_rows().clone()
    rows[[row for row, good in enumerate(finite) if not good]] = 0
    return updates.beside(rows)


def count_nonfinite(step: torch.Tensor) -> int:
    """How many coordinates of a step [D] are NaN or infinite."""
    return step.numel() - int(step.isfinite().sum())
