"""Clients drawn for a round."""

from fedsim.participation.participants import draw_participants


def test_participants_are_drawn_in_each_round_and_sorted() -> None:
    drawn = [draw_participants(0, round_index, num_clients=10, per_round=4) for round_index in range(30)]
    assert all(len(set(ids)) == 4 and list(ids) == sorted(ids) for ids in drawn)
    assert len(set(drawn)) > 15
    assert set().union(*drawn) == set(range(10))
