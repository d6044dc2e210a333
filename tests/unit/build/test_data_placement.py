"""Where samples lie: asked for, and chosen by what is free."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from fedsim.build.components import build_components
from fedsim.build.data import load_data
from fedsim.build.data_placement import place_samples
from fedsim.build.resume import results_digest
from fedsim.comm import SingleProcess
from fedsim.data import Splits
from fedsim.data.feeds import Placement
from fedsim.errors import ConfigError
from support.configuration import configured
from support.images import many_sizes, pictures, splits
from support.thread_ranks import Ring, ThreadRank

GPU = torch.device("cuda")
NEEDED = 2 * 6 * 3 * 12 * 12
"""Bytes of both sides of the pictures."""

DATA = splits(pictures(), (3, 12, 12))


def placed(wanted: Any, frees: list[int], gpus: str, data: Splits = DATA) -> set[Placement]:
    """What ranks decide, of which each has a GPU by its letter with so much memory free."""
    ring = Ring(len(frees))

    def decide(rank: int) -> Placement:
        comm = ThreadRank(rank, ring)
        comm.device = GPU
        return place_samples(wanted, data, comm, lambda device: (gpus[rank], frees[rank]))

    with ThreadPoolExecutor(len(frees)) as pool:
        return set(pool.map(decide, range(len(frees))))


@pytest.mark.parametrize(
    ("frees", "gpus", "expected"),
    [
        ([2 * NEEDED], "a", "device"),
        ([2 * NEEDED - 1], "a", "host"),
        ([2 * NEEDED, 2 * NEEDED], "ab", "device"),
        ([2 * NEEDED, 2 * NEEDED], "aa", "host"),
        ([4 * NEEDED, 4 * NEEDED], "aa", "device"),
        ([4 * NEEDED, 4 * NEEDED, 2 * NEEDED - 1], "aab", "host"),
        ([6 * NEEDED, 2 * NEEDED, 6 * NEEDED, 6 * NEEDED], "abaa", "device"),
    ],
)
def test_auto_takes_at_most_half_of_what_is_free_for_all_ranks_of_a_gpu(
    frees: list[int], gpus: str, expected: Placement
) -> None:
    assert placed("auto", frees, gpus) == {expected}
    assert placed("host", frees, gpus) == {"host"}
    if expected == "device":
        assert placed("device", frees, gpus) == {"device"}
    else:
        with pytest.raises(ConfigError, match=r"more than half of the .* free.*set it to auto") as caught:
            placed("device", frees, gpus)
        assert caught.value.key == "data.placement"


def test_images_that_differ_in_size_stay_on_the_host() -> None:
    samples, _ = many_sizes([(12, 20), (18, 14)])
    data = splits(samples, (3, 12, 14), one_size=False)
    assert placed("auto", [10**12], "a", data) == {"host"}
    with pytest.raises(ConfigError, match=r"differ in size; set data\.resize"):
        placed("device", [10**12], "a", data)


@pytest.mark.parametrize(
    ("wanted", "frees", "gpus", "words"),
    [
        ("auto", [2 * NEEDED], "a", "samples lie on the GPU (5.2 kB for each rank)"),
        (
            "host",
            [2 * NEEDED],
            "a",
            "memory of the host, and are copied batch by batch (as data.placement says)",
        ),
        (
            "auto",
            [8000, 8000],
            "aa",
            "(5.2 kB for each rank are more than half of the 8.0 kB that are free on a GPU, which 2 ",
        ),
    ],
)
def test_it_is_said_once_with_the_size(
    wanted: str, frees: list[int], gpus: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "fedsim"):
        placed(wanted, frees, gpus)
    (line,) = caplog.messages
    assert words in line


@pytest.mark.parametrize("placement", ["auto", "device", "host"])
def test_on_a_cpu_it_means_nothing_and_nothing_is_said(placement: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fedsim"):
        components = build_components(configured(f"data.placement={placement}"))
        data = load_data(components, SingleProcess())
    assert data.placement == "host"
    assert not any("samples lie" in message for message in caplog.messages)
    usual = build_components(configured())
    assert results_digest(components, data) == results_digest(usual, load_data(usual, SingleProcess()))
