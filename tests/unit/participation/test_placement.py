"""Clients and the ranks that train them."""

from fedsim.participation.placement import place_clients


def test_the_placement_gives_every_rank_about_as_many_training_clients() -> None:
    for ranks in (1, 2, 3, 5):
        home = place_clients(11, idle=[0, 3, 9], ranks=ranks)
        load = [sum(home[client] == rank for client in range(11) if client not in (0, 3, 9)) for rank in range(ranks)]
        assert max(load) - min(load) <= 1
