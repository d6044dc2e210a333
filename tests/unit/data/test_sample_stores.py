"""Batches from every kind of store: arrays, many sizes, subsets, mapped files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from fedsim.data import Subset, TensorSamples
from fedsim.data.images.image_files import ImagesOfManySizes
from fedsim.data.inputs import Inputs, View
from support.images import (
    FULL,
    corner,
    many_sizes,
    pictures,
    seeded,
)

# Stores


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("view", [View(), View(crop=9), FULL])
def test_the_stored_samples_stay_as_they_are(view: View, training: bool) -> None:
    samples = pictures()
    before = samples.inputs.clone()
    batch = Inputs(samples, view).batch(torch.arange(6), seeded(0) if training else None)
    batch.zero_()
    assert torch.equal(samples.inputs, before)


def test_images_of_many_sizes_make_a_batch() -> None:
    samples, images = many_sizes([(12, 20), (18, 14), (12, 12), (30, 16)])
    indices = torch.tensor([3, 0, 2, 0, 1])
    batch = Inputs(samples, View(crop=12)).batch(indices)
    expected = [functional.center_crop(images[index], [12, 12]).float() / 255 for index in indices]
    assert torch.equal(batch, torch.stack(expected))
    before = samples.pixels.clone()
    trained = Inputs(samples, View(augmentations=FULL.augmentations, crop=12, resolution=20))
    first = trained.batch(indices, seeded(0))
    assert first.shape == (5, 3, 20, 20)
    assert torch.equal(first, trained.batch(indices, seeded(0)))
    assert torch.equal(samples.pixels, before)


def test_training_crops_of_many_sizes_reach_all_places_of_each_image() -> None:
    images = []
    for height, width in ((5, 7), (8, 5)):
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        images.append(torch.stack([rows, columns, rows]).to(torch.uint8))
    samples = ImagesOfManySizes(
        torch.cat([image.flatten() for image in images]), torch.tensor([[5, 7], [8, 5]]), torch.tensor([0, 1])
    )
    inputs, generator = Inputs(samples, View(crop=5)), seeded(0)
    for index, places in ((0, {(0, left) for left in range(3)}), (1, {(top, 0) for top in range(4)})):
        batch = inputs.batch(torch.full((100,), index), generator)
        assert set(corner(batch[:, :2])) == places


def test_images_of_one_size_are_batched_alike_from_either_store() -> None:
    samples = pictures()
    flat = ImagesOfManySizes(samples.inputs.flatten(), torch.tensor([[12, 12]] * 6), samples.labels)
    indices = torch.tensor([4, 1, 1])
    for view in (View(), FULL, View(augmentations=FULL.augmentations)):
        for seed in (None, 0):
            batches = [
                Inputs(store, view).batch(indices, None if seed is None else seeded(seed))
                for store in (samples, flat)
            ]
            assert torch.equal(*batches)


@pytest.mark.parametrize("training", [True, False])
def test_a_subset_shows_the_samples_that_it_names(training: bool) -> None:
    full, _ = many_sizes([(12, 20), (18, 14), (12, 12), (30, 16)])
    for samples in (pictures(), full):
        chosen = torch.tensor([3, 0, 2])
        part = Subset(samples, chosen)
        indices = torch.tensor([2, 0, 0])
        a, b = (
            Inputs(store, FULL).batch(positions, seeded(0) if training else None)
            for store, positions in ((part, indices), (samples, chosen[indices]))
        )
        assert torch.equal(a, b)
        assert torch.equal(Inputs(part).labels, samples.labels[chosen])
        assert len(Inputs(part)) == len(part) == 3


def test_a_subset_of_a_subset_keeps_columns_and_labels() -> None:
    samples = TensorSamples(torch.arange(5.0)[:, None], torch.tensor([4, 3, 2, 1, 0]), {"site": list("abcde")})
    part = Subset(Subset(samples, torch.tensor([4, 2, 0])), torch.tensor([2, 0]))
    assert part.columns == {"site": ["a", "e"]}
    assert part.labels.tolist() == [4, 0]
    assert Inputs(part).batch(torch.tensor([1, 0])).tolist() == [[4.0], [0.0]]


def test_memory_mapped_images_are_only_read(tmp_path: Path) -> None:
    samples = pictures()
    np.save(tmp_path / "images.npy", samples.inputs.numpy())
    before = (tmp_path / "images.npy").read_bytes()
    mapped = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="r+"))
    indices = torch.tensor([5, 0])
    for view in (View(), FULL):
        inputs = Inputs(TensorSamples(mapped, samples.labels), view)
        expected = Inputs(samples, view).batch(indices, seeded(0))
        assert torch.equal(inputs.batch(indices, seeded(0)), expected)
    assert (tmp_path / "images.npy").read_bytes() == before
