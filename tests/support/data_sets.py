"""Small data sets in the exact on-disk format of the published ones."""

import csv
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

EUROSAT = [
    *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"),
    *("Pasture", "PermanentCrop", "Residential", "River", "SeaLake"),
]
ISIC = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
PREPROCESSED = "ISIC_2019_Training_Input_preprocessed"
RAW = "ISIC_2019_Training_Input"
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NOT_THE_PUBLISHED = (
    "ignore:.*(other files than the published ones|that were published|samples but no (test|training) samples)"
)
small_sets_may_warn = pytest.mark.filterwarnings(NOT_THE_PUBLISHED)


# Pickles as Python 2 wrote them ----------------------------------------------------------------------------------


def python2_pickle(value: Any) -> bytes:
    """Protocol 2 as Python 2's cPickle and the numpy of its time wrote it: text and bytes alike are BINSTRING."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    if isinstance(value, Mapping):
        items = b"".join(_python2(key) + _python2(item) for key, item in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, str | bytes):
        raw = value.encode("latin1") if isinstance(value, str) else value
        return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw
    assert isinstance(value, np.ndarray)
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    code = value.dtype.str.lstrip("|<").encode()
    state = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    kind = b"cnumpy\ndtype\n(U" + bytes([len(code)]) + code + b"K\x00K\x01tR" + state
    shape = b"(" + b"".join(map(_python2, value.shape)) + b"t"
    return empty + b"(K\x01" + shape + kind + b"\x89" + _python2(value.tobytes()) + b"tb"


def write_cifar10(root: Path, per_batch: int = 20) -> Path:
    """``cifar-10-batches-py`` with five training batches and a test batch, classes in turn."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names):
        content = {
            "data": draws.integers(0, 256, (per_batch, 3072), dtype=np.uint8),
            "labels": [index % 10 for index in range(per_batch)],
            "batch_label": f"training batch {number + 1} of 5",
            "filenames": [f"image_{number}_{index}.png" for index in range(per_batch)],
        }
        (folder / name).write_bytes(python2_pickle(content))
    meta = {"num_cases_per_batch": per_batch, "label_names": CIFAR10, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2_pickle(meta))
    return folder


def write_cifar100(root: Path, train: int = 200, test: int = 100) -> Path:
    """``cifar-100-python``: one file to train, one to test, fine and coarse labels."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    draws = np.random.default_rng(1)
    for name, count in (("train", train), ("test", test)):
        content = {
            "filenames": [f"{index}.png" for index in range(count)],
            "batch_label": "training batch 1 of 1",
            "fine_labels": [index % 100 for index in range(count)],
            "coarse_labels": [index % 20 for index in range(count)],
            "data": draws.integers(0, 256, (count, 3072), dtype=np.uint8),
        }
        (folder / name).write_bytes(python2_pickle(content))
    fine = [f"fine_{number}" for number in range(100)]
    (folder / "meta").write_bytes(
        python2_pickle({"fine_label_names": fine, "coarse_label_names": [f"coarse_{number}" for number in range(20)]})
    )
    return folder


# Folders of images -----------------------------------------------------------------------------------------------


def write_image(path: Path, height: int, width: int, seed: int) -> None:
    """A smooth coloured picture, so that JPEG keeps it roughly."""
    draws = np.random.default_rng(seed)
    small = Image.fromarray(draws.integers(40, 216, (4, 4, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize((width, height), Image.Resampling.BICUBIC).save(path)


def write_eurosat(root: Path, per_class: int = 10) -> Path:
    """``eurosat/2750/<Class>/<Class>_<number>.jpg``, as torchvision unpacks the archive."""
    folder = root / "eurosat" / "2750"
    for label, name in enumerate(EUROSAT):
        for number in range(1, per_class + 1):
            write_image(folder / name / f"{name}_{number}.jpg", 64, 64, seed=1000 * label + number)
    return folder


def isic_rows(count: int = 48) -> list[dict[str, str]]:
    """Rows as in FLamby's split file: classes and the six centres in turn, every third round of classes to test."""
    rows = []
    for number in range(count):
        target, center = str(number % 8), str(number % 6)
        fold = "test" if number // 8 % 3 == 2 else "train"
        row = {"image": f"ISIC_{number:07d}" + ("_downsampled" if center == "4" else "")}
        row |= {name: "1.0" if position == number % 8 else "0.0" for position, name in enumerate(ISIC)}
        rows.append({**row, "target": target, "center": center, "fold": fold, "fold2": f"{fold}_{center}"})
    return rows


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_flamby_isic(root: Path, count: int = 48) -> Path:
    """What FLamby leaves: preprocessed images whose shorter side has 224 pixels, and its split file."""
    folder = root / "ISIC_2019_Training_Input_preprocessed"
    for number, row in enumerate(isic_rows(count)):
        width, height = [(298, 224), (224, 224), (224, 300)][number % 3]
        write_image(folder / f"{row['image']}.jpg", height, width, seed=number)
    write_rows(root / "train_test_split", isic_rows(count))
    return folder


HAM_PARTS = {1: "vidir_molemax", 2: "vidir_modern", 3: "rosendahl", 5: "vienna_dias"}


def write_raw_isic(root: Path, count: int = 48) -> Path:
    """What the challenge publishes, and HAM10000's metadata; two images have no lesion and so no centre."""
    folder = root / "ISIC_2019_Training_Input"
    truth, metadata, ham = [], [], []
    for number, row in enumerate(isic_rows(count)):
        name, center = row["image"], int(row["center"])
        write_image(folder / f"{name}.jpg", 300 + 10 * (number % 3), 400, seed=number)
        truth.append({key: row[key] for key in ("image", *ISIC)})
        prefix = {0: "BCN_", 4: "MSK4"}.get(center, "HAM_")
        lesion = "" if number in (6, 12) else f"{prefix}{number:07d}"
        place = {"age_approx": "55.0", "anatom_site_general": "anterior torso"}
        metadata.append({"image": name, **place, "lesion_id": lesion, "sex": "female"})
        if center in HAM_PARTS:
            facts = {"dx": "nv", "dx_type": "histo", "age": "55.0", "sex": "female", "localization": "back"}
            ids = {"lesion_id": f"HAM_{number:07d}", "image_id": name}
            ham.append({**ids, **facts, "dataset": HAM_PARTS[center]})
    write_rows(root / "ISIC_2019_Training_GroundTruth.csv", truth)
    write_rows(root / "ISIC_2019_Training_Metadata.csv", metadata)
    write_rows(root / "HAM10000_metadata", ham)
    return folder


def write_class_folders(
    folder: Path, classes: Sequence[str] = ("cat", "dog"), per_class: int = 5, seed: int = 0
) -> Path:
    """Images of several sizes and formats in a folder for each class."""
    for label, name in enumerate(classes):
        for number in range(per_class):
            suffix = ("jpg", "png")[number % 2]
            write_image(folder / name / f"{number}.{suffix}", 40 + 4 * number, 60, seed=seed + 100 * label + number)
    return folder
