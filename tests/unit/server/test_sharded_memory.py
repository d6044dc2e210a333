"""What a sharded server is for: no rank holds the matrix."""

import sys

import pytest

from support.gloo_ranks import on_gloo_ranks
from support.memory_scenarios import (
    CLIENTS,
    MATRIX,
    VECTOR,
    peak_of_a_sharded_round,
    peak_of_a_whole_round,
)

RANKS = 4
SLACK = 100_000_000
"""Bytes: what is computed of a block, messages, and what libraries load late."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what memory a process has taken is read from /proc")
def test_over_several_hosts_a_rank_holds_its_columns_and_its_own_rows() -> None:
    whole = on_gloo_ranks(RANKS, peak_of_a_whole_round, seconds=200)
    sharded = on_gloo_ranks(RANKS, peak_of_a_sharded_round, seconds=200)
    held = CLIENTS // RANKS * VECTOR + MATRIX // RANKS
    most = held + 4 * VECTOR + SLACK  # with the state and the step of all columns
    assert most < MATRIX < whole[0]
    for peak in sharded:
        assert held < peak < most
