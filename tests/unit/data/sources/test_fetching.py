"""What `prepare` fetches, with a download that is a copy: addresses and checksums are those that others publish."""

import gzip
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torchvision

from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from fedsim.prepare import main as prepare
from support.data_sets import small_sets_may_warn
from support.published_images import (
    write_cinic10,
    write_emnist,
    write_femnist,
    write_medmnist,
    write_mnist,
    write_svhn,
    write_tiny_imagenet,
)

pytestmark = pytest.mark.usefixtures("cache")

Fetched = list[tuple[str, str]]
"""Address and MD5 of each file that was asked for."""


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Fetched]:
    """Let files of a folder come from the network, by the last part of their address."""

    def serve(folder: Path) -> Fetched:
        asked: Fetched = []

        def download_url(url: str, root: Any, filename: Any = None, md5: Any = None, *_: Any, **__: Any) -> None:
            asked.append((url, md5))
            name = url.split("?")[0].rsplit("/", 1)[1]
            Path(root).mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, Path(root) / (filename or name))

        monkeypatch.setattr(torchvision.datasets.utils, "download_url", download_url)
        monkeypatch.setattr(torchvision.datasets.svhn, "download_url", download_url)
        monkeypatch.setattr(torchvision.datasets.svhn, "check_integrity", lambda path, md5=None: True)
        return asked

    return serve


def fetched(name: str, root: Path, *settings: str) -> None:
    """Fetched once, and then used as it is; nothing else is left in the folder."""
    assert prepare([name, "--root", str(root), *settings]) == 0
    assert not [path for path in root.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_idx_files(name: str, folder: str, tmp_path: Path, published: Callable[[Path], Fetched]) -> None:
    asked = published(write_mnist(tmp_path / "net", ".", compressed=True))
    for _ in range(2):
        fetched(name, tmp_path / "root")
    assert [(url.rsplit("/", 1)[1], md5) for url, md5 in asked] == getattr(torchvision.datasets, folder).resources
    assert [path.name for path in (tmp_path / "root").iterdir()] == [folder]


def test_emnist(tmp_path: Path, published: Callable[[Path], Fetched]) -> None:
    (tmp_path / "net").mkdir()
    with zipfile.ZipFile(tmp_path / "net" / "gzip.zip", "w") as archive:
        for split in ("balanced", "letters"):
            for path in write_emnist(tmp_path / "made" / split, split).iterdir():
                archive.writestr(f"gzip/{path.name}.gz", gzip.compress(path.read_bytes()))
    asked = published(tmp_path / "net")
    for split in ("balanced", "letters"):
        fetched("emnist", tmp_path / "root", f"split={split}")
    assert asked == [(torchvision.datasets.EMNIST.url, torchvision.datasets.EMNIST.md5)]


def test_svhn(tmp_path: Path, published: Callable[[Path], Fetched]) -> None:
    known = {part: (url, md5) for part, (url, _, md5) in torchvision.datasets.SVHN.split_list.items()}
    asked = published(write_svhn(tmp_path / "net"))
    fetched("svhn", tmp_path / "root")
    assert asked == [known["train"], known["test"]]
    fetched("svhn", tmp_path / "root", "extra=true")
    assert asked[2:] == [known["extra"]]


def test_cinic10(tmp_path: Path, published: Callable[[Path], Fetched]) -> None:
    made = write_cinic10(tmp_path / "made")
    (tmp_path / "net").mkdir()
    with tarfile.open(tmp_path / "net" / "CINIC-10.tar.gz", "w:gz") as archive:
        for side in ("train", "valid", "test"):
            archive.add(made / side, side)
    asked = published(tmp_path / "net")
    fetched("cinic10", tmp_path / "root")
    assert len(asked) == 1
    assert re.fullmatch("[0-9a-f]{32}", asked[0][1])


def test_tiny_imagenet(tmp_path: Path, published: Callable[[Path], Fetched]) -> None:
    write_tiny_imagenet(tmp_path / "made")
    (tmp_path / "net").mkdir()
    shutil.make_archive(str(tmp_path / "net" / "tiny-imagenet-200"), "zip", tmp_path / "made", "tiny-imagenet-200")
    asked = published(tmp_path / "net")
    fetched("tiny_imagenet", tmp_path / "root")
    assert len(asked) == 1
    assert re.fullmatch("[0-9a-f]{32}", asked[0][1])


def test_medmnist_by_its_package(
    tmp_path: Path, published: Callable[[Path], Fetched], monkeypatch: pytest.MonkeyPatch
) -> None:
    package: Any = ModuleType("medmnist")
    facts = {"url": "https://zenodo.org/pathmnist.npz?download=1", "MD5": "28", "MD5_64": "64"}
    package.INFO = {"pathmnist": {**facts, "url_64": "https://zenodo.org/pathmnist_64.npz?download=1"}}
    monkeypatch.setitem(sys.modules, "medmnist", package)
    write_medmnist(tmp_path / "net")
    write_medmnist(tmp_path / "net", "pathmnist_64", size=64)
    asked = published(tmp_path / "net")
    fetched("medmnist", tmp_path / "root")
    fetched("medmnist", tmp_path / "root", "size=64")
    assert asked == [(facts["url"], "28"), (package.INFO["pathmnist"]["url_64"], "64")]


def test_medmnist_without_its_package_says_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(ConfigError, match=r"no file .*pathmnist_64\.npz") as raised:
        sources.build("medmnist", size=64).prepare(tmp_path)
    assert "pip install medmnist" in raised.value.remedy
    assert "zenodo" in raised.value.remedy


@small_sets_may_warn
def test_what_cannot_be_fetched_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"preprocess\.sh"):
        sources.build("femnist").prepare(tmp_path)
    write_femnist(tmp_path)
    sources.build("femnist").prepare(tmp_path)


def test_a_part_of_the_files_is_not_taken_for_all(tmp_path: Path, published: Callable[[Path], Fetched]) -> None:
    folder = write_mnist(tmp_path)
    asked = published(folder)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ConfigError, match="MNIST is not whole; remove or complete it"):
        sources.build("mnist").prepare(tmp_path)
    assert asked == []
