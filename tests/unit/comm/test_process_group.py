"""Real ranks over gloo: which transport they choose, how steps travel, what a rank keeps."""

import re

from support import communicator_scenarios as scenarios
from support.gloo_ranks import on_gloo_ranks


def test_gpus_are_told_apart_by_their_place_and_not_by_their_number() -> None:
    """With one visible GPU per rank every rank computes on cuda:0."""
    assert on_gloo_ranks(2, scenarios.one_gpu_each) == ["NCCL"] * 2
    assert on_gloo_ranks(2, scenarios.one_gpu_for_both) == ["shared memory of one host"] * 2


def test_ranks_without_a_gpu_among_others_are_named_by_all() -> None:
    one, other = on_gloo_ranks(2, scenarios.a_gpu_for_one)
    assert one == other
    assert re.fullmatch(
        r"ConfigError: runtime\.device: rank 1 \(host .+\) sees no GPU \(.+\), but rank 0 \(host .+\) has one "
        r"\(H100, 80\.0 GB\); let every rank see a GPU, or set runtime\.device=cpu",
        one,
    )
    said = on_gloo_ranks(4, scenarios.gpus_for_two_of_four)
    assert len(set(said)) == 1
    assert re.search(r"device: rank 0 \(host .+\), rank 2 \(host .+\) see no GPU \(.+\), but rank 1 \(host ", said[0])


def test_a_hung_rank_0_is_noticed_before_a_broadcast_of_nccl() -> None:
    noticed = on_gloo_ranks(2, scenarios.seconds_until_a_hung_rank_0_is_noticed)[1]
    assert noticed is not None
    assert noticed < 8  # it hangs for 9


def test_of_an_error_of_nccl_the_cause_is_kept() -> None:
    said = on_gloo_ranks(1, scenarios.what_is_said_where_nccl_fails)
    assert said == ["phase 'broadcast': NCCL error in: NCCLUtils.hpp:268; no room in /dev/shm"]


def test_steps_travel_through_shared_memory_where_rows_do() -> None:
    assert on_gloo_ranks(3, scenarios.steps_that_travel_through_gloo) == [(0, True)] * 3


def test_a_rank_keeps_as_many_rows_as_it_has_owned_at_once() -> None:
    for rank, (right, buffers, most) in enumerate(on_gloo_ranks(3, scenarios.rows_of_changing_owners)):
        assert right
        assert rank == 0 or buffers <= most


def test_ranks_gather_tensors_of_other_lengths_and_of_none() -> None:
    found = on_gloo_ranks(3, scenarios.gathered_values)
    assert found[1:] == found[:1] * 2
    kinds = iter(found[0])
    for dtype in ("float32", "float64", "int64", "bool", "bfloat16"):
        for rows in ([0, 1, 2], [0, 0, 0]):
            for width in (1, 2):
                parts = next(kinds)
                assert [part[0] for part in parts] == [f"torch.{dtype}"] * 3
                assert [part[1] for part in parts] == [[count, 2][:width] for count in rows]
                values = [min(rank, 1) if dtype == "bool" else rank for rank in range(3)]
                assert [part[2] for part in parts] == [
                    [value] * width * count for value, count in zip(values, rows, strict=True)
                ]


def test_every_rank_gets_the_parts_of_a_step_that_others_have() -> None:
    assert on_gloo_ranks(3, scenarios.completed_vectors) == [[True] * 10] * 3


def test_every_rank_gets_its_columns_of_all_rows() -> None:
    assert on_gloo_ranks(3, scenarios.columns_in_shared_memory) == [("SharedRows", True)] * 3
    assert on_gloo_ranks(3, scenarios.columns_point_to_point) == [("ExchangedColumns", True)] * 3
