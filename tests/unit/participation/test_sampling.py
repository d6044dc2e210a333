"""Clients drawn for a round."""

from fedsim.participation.sampling import participants


def test_participants_are_drawn_in_each_round_and_sorted() -> None:
    drawn = [participants(0, round, count=10, taking_part=4) for round in range(30)]
    assert all(len(set(ids)) == 4 and list(ids) == sorted(ids) for ids in drawn)
    assert len(set(drawn)) > 15
    assert set().union(*drawn) == set(range(10))
