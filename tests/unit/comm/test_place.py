"""Which device a rank takes."""

import os

import pytest
import torch

from fedsim.comm import RankPlace
from fedsim.main import main

CPU = torch.device("cpu")


@pytest.fixture
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("_two_gpus")
def test_ranks_of_a_host_take_its_gpus_in_turn() -> None:
    places = [RankPlace(8 + rank, 16, rank, 8) for rank in range(4)]
    assert [place.device("auto").index for place in places] == [0, 1, 0, 1]
    assert [place.device("cuda").index for place in places] == [0, 1, 0, 1]
    assert places[0].device("cpu") == CPU


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_a_rank_without_a_gpu_takes_part_until_all_know_who_has_none(
    monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert RankPlace(1, 2, 1, 2).device(wanted) == CPU


def test_a_rank_takes_its_slice_before_anything_asks_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA reads the variable once, when it is asked for the first time."""
    seen = []

    def sees_none() -> bool:
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
        return False

    monkeypatch.setattr(torch.cuda, "is_available", sees_none)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    assert main(["--check", "data.name=synthetic"]) == 0
    assert set(seen) == {"MIG-b"}


def test_each_rank_takes_a_slice_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA shows a process the first of the slices that are listed, whatever their number."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    taken = []
    for rank in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
        assert RankPlace(rank, 3, rank, 3).device("auto") == torch.device("cuda", 0)
        taken.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert taken == ["MIG-a", "MIG-b", "MIG-a"]
