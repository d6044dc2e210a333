"""Which of the statistics wins: the configured, the model's, the data set's."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fedsim.build.components import build_components
from fedsim.build.data import RunData, load_data
from fedsim.comm import SingleProcess
from fedsim.data.fingerprint import fingerprint
from fedsim.errors import ConfigError
from support.configuration import configured
from support.images import pictures, splits
from support.thread_ranks import Ring, ThreadRank

PUBLISHED = ((0.1307,), (0.3081,))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TIMM = "model={name: timm, architecture: resnet18"


def loaded(*overrides: str) -> RunData:
    return load_data(build_components(configured(*overrides)), SingleProcess())


def colour(*overrides: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """What colour images of no source are normalised by."""
    statistics = build_components(configured(*overrides)).statistics(splits(pictures(), (3, 12, 12)))
    return None if statistics is None else (statistics.mean, statistics.std)


def test_a_model_from_scratch_sees_images_normalised_by_the_data_set() -> None:
    data = loaded()
    assert data.view.normalization == PUBLISHED
    batch = data.train_inputs(torch.device("cpu")).batch(torch.arange(4000))
    assert float(batch.mean()) == pytest.approx(0, abs=2e-3)
    assert float(batch.std()) == pytest.approx(1, abs=2e-3)
    assert loaded(f"{TIMM}}}", "data.resolution=32").view.normalization == PUBLISHED


def test_what_a_model_was_pretrained_with_wins() -> None:
    assert colour(f"{TIMM}, pretrained: true}}") == IMAGENET
    assert colour(f"{TIMM}, weights: mine.safetensors}}") == IMAGENET
    assert colour(f"{TIMM}}}") != IMAGENET


def test_a_pretrained_model_of_other_channels_leaves_it_to_the_data_set() -> None:
    components = build_components(configured(f"{TIMM}, pretrained: true}}"))
    statistics = components.statistics(components.source.load(None))
    assert (statistics.mean, statistics.std) == PUBLISHED


def test_explicit_numbers_and_none_win_over_everything() -> None:
    explicit = "data.normalize={mean: [0.1, 0.2, 0.3], std: [1.0, 2.0, 3.0]}"
    for model in ("model.name=small_cnn", f"{TIMM}, pretrained: true}}"):
        assert colour(model, explicit) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
        assert colour(model, "data.normalize=none") is None
    batch = loaded("data.normalize=none").train_inputs(torch.device("cpu")).batch(torch.arange(8))
    assert (float(batch.min()), float(batch.max())) == (0.0, 1.0)


def test_numbers_that_are_no_images_stay_as_they_are() -> None:
    assert loaded("data={name: synthetic, shape: [1, 28, 28]}").view.normalization is None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], ["images are normalised by mean 0.1307 and standard deviation 0.3081 of mnist5k (published)"]),
        (
            ["data.normalize={mean: [0.5], std: [0.25]}"],
            ["images are normalised by mean 0.5 and standard deviation 0.25 of data.normalize"],
        ),
        (["data.normalize=none"], []),
        (["data={name: synthetic}"], []),
    ],
)
def test_all_ranks_have_the_numbers_and_rank_0_logs_them(
    overrides: list[str], said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    loaded(*overrides)
    assert caplog.messages == said
    ring, components = Ring(3), build_components(configured(*overrides))
    with ThreadPoolExecutor(3) as pool:
        ranks = [pool.submit(load_data, components, ThreadRank(rank, ring)) for rank in range(3)]
        views = [rank.result(timeout=60).view.normalization for rank in ranks]
    assert caplog.messages == said * 2
    assert views[0] == views[1] == views[2]


def test_numbers_for_data_without_channels_are_refused() -> None:
    """They would be broadcast along the wrong dimension."""
    with pytest.raises(ConfigError, match=r"data\.normalize: these data are no images; leave it out"):
        loaded("data={name: synthetic, shape: [1]}", "data.normalize={mean: [0.5], std: [0.5]}")


def test_data_normalised_by_other_numbers_are_other_data() -> None:
    """So that neither a rank nor a resumed run goes on with them unnoticed."""
    raw, shifted = loaded("data.normalize=none"), loaded("data.normalize={mean: [0.1], std: [1.0]}")
    assert len({raw.digest, shifted.digest, loaded().digest}) == 3
    assert raw.digest == fingerprint(raw.splits)
