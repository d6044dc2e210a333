"""Whether all ranks that work on some columns of the rows have decided alike."""

import hashlib

import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics
from fedsim.errors import RankError
from fedsim.updates.columns import Exchange


def require_agreement(said: Diagnostics, exchange: Exchange) -> None:
    """Compare what the defence says of itself on each rank, to the last bit.

    Decisions are taken on every rank, from the same statistics. Processors of different types may differ in the last
    bit of an eigenvalue or an exponential, and then in what is chosen.

    Raises:
        RankError: names the ranks that decided otherwise than rank 0.

    >>> from fedsim.updates.columns import ALONE
    >>> require_agreement(Diagnostics(scalars={"num_byzantine": 2}), ALONE)
    """
    if exchange.size == 1:
        return
    digests = torch.cat(exchange.gather(_digest(said)))
    others = (digests != digests[0]).nonzero().flatten().tolist()
    if others:
        ranks = f"rank{'s' * (len(others) > 1)} {', '.join(map(str, others))}"
        problem = f"{ranks} did not decide as rank 0 did about the same rows, as on hosts of different processors"
        raise RankError(f"{problem}: set server.sharded: false, or run on hosts of one type")


def _digest(said: Diagnostics) -> Tensor:
    digest = hashlib.blake2b(digest_size=8)
    for name, values in sorted(said.per_client.items()):
        digest.update(name.encode() + values.double().cpu().numpy().tobytes())
    digest.update(repr(sorted(said.scalars.items())).encode())
    return torch.tensor([int.from_bytes(digest.digest(), "little", signed=True)])
