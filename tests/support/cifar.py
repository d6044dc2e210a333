"""What tests of CIFAR share."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.data.sources import sources
from fedsim.errors import ConfigError

PIXELS = np.zeros((2, 3072), dtype=np.uint8)
"""Two black images."""


def refused(root: Path, name: str = "cifar10", **settings: Any) -> ConfigError:
    """The ConfigError that loading ends with; files of any content are accepted."""
    with pytest.raises(ConfigError) as raised:
        sources.build(name, **{"verify": False, **settings}).load(root)
    assert raised.value.key == "root"
    assert f"fedsim.prepare {name} --root" in raised.value.remedy
    return raised.value


class Published:
    """Stands for torchvision's class: the files of a folder are the published ones."""

    def __init__(self, folder: Path) -> None:
        sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        self.meta = {"md5": sums.pop("meta", "") or sums.pop("batches.meta", "")}
        self.train_list = [[name, md5] for name, md5 in sums.items() if "test" not in name]
        self.test_list = [[name, md5] for name, md5 in sums.items() if "test" in name]


def array_pickle(shape: bytes, code: bytes = b"u1", content: bytes = b"U\x02ab") -> bytes:
    """A dictionary with an array under 'data', which claims a shape."""
    state = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    kind = b"cnumpy\ndtype\n(U" + bytes([len(code)]) + code + b"K\x00K\x01tR" + state
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    return b"\x80\x02}U\x04data" + empty + b"(K\x01" + shape + kind + b"\x89" + content + b"tbs."
