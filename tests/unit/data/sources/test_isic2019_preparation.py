"""Raw images of the challenge, prepared as FLamby prepares them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedsim.data.sources import sources
from fedsim.data.sources.isic2019_preparation import constant_colours, prepare_images
from fedsim.prepare import main
from support.data_checks import columns_by_image
from support.data_sets import (
    PREPROCESSED,
    isic_rows,
    small_sets_may_warn,
    write_flamby_isic,
    write_raw_isic,
    write_rows,
)

pytestmark = pytest.mark.usefixtures("cache")


def test_preparation_leaves_what_flamby_has_preprocessed(tmp_path: Path) -> None:
    folder = write_flamby_isic(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["fed_isic2019", "--root", str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def by_hand(path: Path, power: int = 6) -> np.ndarray:
    """FLamby's preprocessing in plain numpy, but for the clipping."""
    with Image.open(path) as image:
        shorter = min(image.size)
        small = image.convert("RGB").resize(
            [int(side * 224 / shorter) for side in image.size], Image.Resampling.BILINEAR
        )
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


@small_sets_may_warn
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
