"""Ranks that decide about the same rows."""

import pytest
import torch

from fedsim.aggregators.base import Diagnostics
from fedsim.errors import RankError
from fedsim.server.agreement import require_agreement
from fedsim.updates.columns import Exchange
from support.column_ranks import on_column_ranks


def said(trust: float = 0.5, f: float = 2) -> Diagnostics:
    return Diagnostics(
        per_client={"weight": torch.tensor([trust, 1.0], dtype=torch.float64)}, scalars={"num_byzantine": f}
    )


def test_ranks_that_say_the_same_go_on() -> None:
    on_column_ranks(3, lambda exchange: require_agreement(said(), exchange))


@pytest.mark.parametrize("other", [said(trust=0.5 + 2**-53), said(f=3)], ids=["a last bit", "a number"])
def test_the_ranks_that_decide_otherwise_are_named_on_every_rank(other: Diagnostics) -> None:
    def work(exchange: Exchange) -> str:
        with pytest.raises(RankError) as caught:
            require_agreement(other if exchange.rank == 2 else said(), exchange)
        return str(caught.value)

    texts = set(on_column_ranks(3, work))
    assert len(texts) == 1
    assert texts.pop().startswith("rank 2 did not decide as rank 0 did")
