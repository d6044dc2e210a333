"""What tests of stored data ask of them, and what they put in the place of disks and decoders."""

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fedsim.data import Samples, Splits
from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from support.data_sets import (
    ISIC,
)


def loading_error(name: str, root: Path, **settings: Any) -> ConfigError:
    """The ConfigError that loading ends with."""
    with pytest.raises(ConfigError) as raised:
        sources.build(name, **settings).load(root)
    assert raised.value.key == "root"
    assert raised.value.remedy
    return raised.value


def grown_memory(action: Callable[[], Any]) -> int:
    """MiB by which memory was larger at its peak in ``action`` than before."""

    def kilobytes(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])

    Path("/proc/self/clear_refs").write_text("5")  # the peak is reset
    before = kilobytes("VmRSS")
    action()
    return (kilobytes("VmHWM") - before) // 1024


def cut_short(content: bytes) -> bytes:
    return content[: 2 * len(content) // 3]


def pictures(samples: Samples) -> list[np.ndarray]:
    """All images [C, H, W], in order."""
    return [image.numpy() for image in samples.pick(torch.arange(len(samples)))]


def pairs(samples: Samples) -> list[tuple[tuple[int, ...], bytes, int]]:
    """Shape, content and label of each sample, sorted."""
    labels = samples.labels.tolist()
    return sorted(
        (image.shape, image.tobytes(), label) for image, label in zip(pictures(samples), labels, strict=True)
    )


def as_pillow_reads(files: Sequence[tuple[Path, int]]) -> list[tuple[tuple[int, ...], bytes, int]]:
    """The same, as Pillow alone reads the files."""
    found = []
    for path, label in files:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        found.append((pixels.shape, pixels.tobytes(), label))
    return sorted(found)


def refuse(*arguments: Any, **keywords: Any) -> Any:
    raise AssertionError("nothing should be decoded here")


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


def disk_full(*arguments: Any, **keywords: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
