"""Jobs and ranks that fill the machine."""

import pytest

from fedsim.sweep.runner import slots_for


@pytest.mark.parametrize(
    ("given", "jobs", "ranks"),
    [
        ({"cells": 100, "gpus": 0, "cores": 2}, 2, 1),
        ({"cells": 1, "gpus": 0, "cores": 64}, 8, 8),  # no more ranks than clients
        ({"cells": 3, "gpus": 8, "cores": 64}, 4, 2),
        ({"cells": 100, "gpus": 8, "cores": 64}, 8, 1),
        ({"cells": 100, "gpus": 0, "cores": 8, "jobs": 2}, 2, 4),
        ({"cells": 100, "gpus": 0, "cores": 8, "ranks": 3}, 2, 3),
        ({"cells": 0, "gpus": 0, "cores": 8}, 8, 1),
    ],
)
def test_a_cell_has_as_few_ranks_as_fill_the_machine(given: dict[str, int], jobs: int, ranks: int) -> None:
    room = slots_for(**{"clients": 8, "jobs": None, "ranks": None, **given})
    assert (room.jobs, room.ranks) == (jobs, ranks)


def test_jobs_at_the_same_time_have_gpus_of_their_own() -> None:
    room = slots_for(cells=4, clients=2, jobs=None, ranks=None, gpus=8, cores=8)
    assert [room.devices(job) for job in range(room.jobs)] == ["0,1", "2,3", "4,5", "6,7"]
    assert slots_for(cells=4, clients=2, jobs=None, ranks=None, gpus=0, cores=8).devices(0) is None


def test_more_ranks_than_gpus_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch reads a list that names a GPU twice as an empty one."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    room = slots_for(cells=4, clients=8, jobs=None, ranks=4, gpus=2, cores=8)
    assert [room.devices(job) for job in range(room.jobs)] == ["0,1"]
    room = slots_for(cells=4, clients=8, jobs=2, ranks=3, gpus=4, cores=8)
    assert [room.devices(job) for job in range(room.jobs)] == ["0,1,2", "3,0,1"]


@pytest.mark.parametrize(
    ("visible", "of_jobs"),
    [("2,3", ["2", "3"]), ("GPU-8a,GPU-9b", ["GPU-8a", "GPU-9b"]), ("MIG-8a, MIG-9b", ["MIG-8a", "MIG-9b"])],
)
def test_jobs_keep_to_the_gpus_that_the_sweep_may_use(
    monkeypatch: pytest.MonkeyPatch, visible: str, of_jobs: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    room = slots_for(cells=4, clients=8, jobs=None, ranks=None, gpus=2, cores=8)
    assert [room.devices(job) for job in range(room.jobs)] == of_jobs
