"""Small image data sets in the formats of the published ones, byte for byte as their authors write them."""

import gzip
import json
import string
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from support.data_sets import CIFAR10

Bytes = NDArray[np.uint8]

WNIDS = ["n02124075", "n01443537", "n03126707"]
"""In the order of ``wnids.txt``, which is not sorted."""

WORDS = {"n01443537": "goldfish, Carassius auratus", "n02124075": "crane", "n03126707": "crane"}


def random_images(count: int, *shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


# IDX -------------------------------------------------------------------------------------------------------------


def idx(array: Bytes) -> bytes:
    """Magic number, sizes, values."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return struct.pack(">BBBB", 0, 0, 0x08, array.ndim) + sizes + array.tobytes()


def write_idx(folder: Path, prefix: str, images: Bytes, labels: Bytes, *, compressed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for what, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        content = idx(array)
        if compressed:
            (folder / f"{prefix}-{what}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / f"{prefix}-{what}").write_bytes(content)


def write_idx_pair(
    folder: Path, prefixes: tuple[str, str], first: int = 0, classes: int = 10, compressed: bool = False
) -> None:
    """Twice as many images to train as classes, as many to test."""
    for seed, (prefix, count) in enumerate(zip(prefixes, (2 * classes, classes), strict=True)):
        labels = (np.arange(count) % classes + first).astype(np.uint8)
        write_idx(folder, prefix, random_images(count, 28, 28, seed=seed), labels, compressed=compressed)


def write_mnist(root: Path, folder: str = "MNIST/raw", compressed: bool = False) -> Path:
    write_idx_pair(root / folder, ("train", "t10k"), compressed=compressed)
    return root / folder


def write_fashion_mnist(root: Path) -> Path:
    return write_mnist(root, "FashionMNIST/raw")


EMNIST = {"balanced": (0, 47), "letters": (1, 26), "byclass": (0, 62), "bymerge": (0, 47), "digits": (0, 10)}
"""First label and number of classes."""


def write_emnist(root: Path, split: str = "balanced", folder: str = "EMNIST/raw", compressed: bool = False) -> Path:
    first, classes = EMNIST[split]
    prefixes = f"emnist-{split}-train", f"emnist-{split}-test"
    write_idx_pair(root / folder, prefixes, first, classes, compressed)
    return root / folder


# MATLAB ----------------------------------------------------------------------------------------------------------


def write_svhn(root: Path, counts: Mapping[str, int] | None = None) -> Path:
    """``X`` [32, 32, 3, n] and ``y`` [n, 1], compressed, the digit 0 with the label 10."""
    root.mkdir(parents=True, exist_ok=True)
    for seed, (part, count) in enumerate((counts or {"train": 20, "test": 10, "extra": 30}).items()):
        images = random_images(count, 32, 32, 3, seed=seed).transpose(1, 2, 3, 0)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        scipy.io.savemat(root / f"{part}_32x32.mat", {"X": images, "y": labels}, do_compression=True)
    return root


# Folders ---------------------------------------------------------------------------------------------------------


def save_image(path: Path, pixels: Bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_cinic10(root: Path, place: str = "CINIC-10", per_class: int = 2) -> Path:
    for number, side in enumerate(("train", "valid", "test")):
        for label, name in enumerate(CIFAR10):
            for index, pixels in enumerate(random_images(per_class, 32, 32, 3, seed=100 * number + label)):
                origin = ("cifar-10-train-", "n02691156_")[index % 2]
                save_image(root / place / side / name / f"{origin}{index}.png", pixels)
    return root / place


def write_tiny_imagenet(root: Path, per_class: int = 3) -> Path:
    """Three classes, two of which have the same first word; one training image is grey."""
    folder = root / "tiny-imagenet-200"
    for label, name in enumerate(WNIDS):
        images = random_images(per_class, 64, 64, 3, seed=label)
        for index, pixels in enumerate(images):
            save_image(
                folder / "train" / name / "images" / f"{name}_{index}.JPEG", pixels[..., 0] if index == 1 else pixels
            )
        boxes = "".join(f"{name}_{index}.JPEG\t0\t10\t63\t58\n" for index in range(per_class))
        (folder / "train" / name / f"{name}_boxes.txt").write_text(boxes)
    lines = []
    for index, pixels in enumerate(random_images(12, 64, 64, 3, seed=9)):
        save_image(folder / "val" / "images" / f"val_{index}.JPEG", pixels)
        save_image(folder / "test" / "images" / f"test_{index}.JPEG", pixels)
        lines.append(f"val_{index}.JPEG\t{WNIDS[index % 3]}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(WNIDS))
    others = {"n00001740": "entity", "n01440764": "tench, Tinca tinca"}
    words = sorted({**others, **WORDS}.items())
    (folder / "words.txt").write_text("".join(f"{name}\t{words}\n" for name, words in words))
    return folder


# LEAF ------------------------------------------------------------------------------------------------------------


def leaf_images(count: int, seed: int) -> Bytes:
    """Rows of 784 grey levels, mostly white, of every value."""
    draws = np.random.default_rng(seed)
    return np.where(draws.random((count, 784)) < 0.8, 255, draws.integers(0, 256, (count, 784))).astype(np.uint8)


def leaf_file(users: Mapping[str, tuple[Bytes, Sequence[int]]], left_out: Sequence[str] = ()) -> str:
    """As LEAF's scripts write it: pixels divided by 255. Its split leaves users of one sample in ``user_data``."""
    content = {
        "users": list(users),
        "num_samples": [len(labels) for _, labels in users.values()],
        "user_data": {
            **{name: {"x": [], "y": []} for name in left_out},
            **{name: {"x": (images / 255).tolist(), "y": list(labels)} for name, (images, labels) in users.items()},
        },
    }
    return json.dumps(content)


def leaf_users(names: Sequence[str], counts: Sequence[int], seed: int) -> dict[str, tuple[Bytes, list[int]]]:
    return {
        name: (leaf_images(count, seed + number), [(7 * number + index) % 62 for index in range(count)])
        for number, (name, count) in enumerate(zip(names, counts, strict=True))
    }


def write_femnist(
    root: Path, names: Sequence[str] = ("f0001_41", "f0000_14", "f1022_09", "f3999_00")
) -> dict[str, Any]:
    """``train`` and ``test``, by sample, in two files each; what is in them, by side and writer."""
    written: dict[str, Any] = {}
    for seed, (side, counts) in enumerate((("train", [9, 18, 5, 7]), ("test", [2, 3, 1, 1]))):
        users = leaf_users(names, counts, 10 * seed)
        (root / side).mkdir(parents=True, exist_ok=True)
        for number, part in enumerate((names[:2], names[2:])):
            path = root / side / f"all_data_{number}_niid_0_keep_0_{side}_9.json"
            path.write_text(leaf_file({name: users[name] for name in part}, ["f2222_22"]))
        written[side] = users
    return written


def write_femnist_all_data(root: Path, writers: int = 5) -> dict[str, tuple[Bytes, list[int]]]:
    """``all_data`` in two files: the writers have 10, 11, ... samples."""
    names = [f"f{number:04d}_{number:02d}" for number in range(writers)]
    users = leaf_users(names, range(10, 10 + writers), 0)
    (root / "all_data").mkdir(parents=True)
    for number, part in enumerate((names[:2], names[2:])):
        (root / "all_data" / f"all_data_{number}.json").write_text(leaf_file({name: users[name] for name in part}))
    return users


# NPZ -------------------------------------------------------------------------------------------------------------


def medmnist_arrays(classes: int = 9, channels: int = 3, size: int = 28, per_class: int = 2) -> dict[str, Bytes]:
    """Images [n, size, size, 3], or [n, size, size] if grey, and labels [n, 1]."""
    arrays: dict[str, Bytes] = {}
    for seed, part in enumerate(("train", "val", "test")):
        count = classes * per_class
        shape = (size, size, 3) if channels == 3 else (size, size)
        arrays[f"{part}_images"] = random_images(count, *shape, seed=seed)
        arrays[f"{part}_labels"] = (np.arange(count) % classes).astype(np.uint8)[:, None]
    return arrays


def write_medmnist(root: Path, name: str = "pathmnist", **settings: int) -> dict[str, Bytes]:
    root.mkdir(parents=True, exist_ok=True)
    arrays = medmnist_arrays(**settings)
    np.savez_compressed(root / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    return arrays


# All of them -----------------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path], object]] = {
    "cinic10": write_cinic10,
    "emnist": write_emnist,
    "fashion_mnist": write_fashion_mnist,
    "femnist": write_femnist,
    "medmnist": write_medmnist,
    "mnist": write_mnist,
    "svhn": write_svhn,
    "tiny_imagenet": write_tiny_imagenet,
}
"""What writes each set below a root, with the source's default settings."""

FEMNIST_CLASSES = list(string.digits + string.ascii_uppercase + string.ascii_lowercase)
