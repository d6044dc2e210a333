"""`python -m fedsim.prepare`."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torchvision
from PIL import Image

from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from fedsim.prepare import main
from support.data_checks import disk_full, refuse
from support.data_sets import (
    PREPROCESSED,
    isic_rows,
    small_sets_may_warn,
    write_cifar10,
    write_cifar100,
    write_class_folders,
    write_eurosat,
    write_raw_isic,
    write_rows,
)

pytestmark = pytest.mark.usefixtures("cache")


def no_network(place: str) -> None:
    (Path(place) / "set").mkdir()
    (Path(place) / "set" / "half").write_bytes(b"half")
    raise OSError("no route to host")


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
    assert re.fullmatch(f"fedsim: 14 images take .* kB in the cache {cache}, where .* are free\n", shown.err)
    assert main(["image_folder", "--root", str(tmp_path), "short_side=20"]) == 0
    assert capsys.readouterr() == (shown.out, "")  # it is there already
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
        (["synthetic", "name=x"], "name: the data set is synthetic"),
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
    monkeypatch.setattr(Image.Image, "save", disk_full)
    assert main(["fed_isic2019", "--root", str(tmp_path)]) == 2
    assert str(tmp_path / PREPROCESSED) in capsys.readouterr().err


def test_preparation_says_that_nothing_stays_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_class_folders(tmp_path / "set", per_class=4)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["image_folder", "--root", str(tmp_path / "set")]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("cannot be written (Not a directory)") == 1
    assert shown.err.count("fedsim: warning: ") == 1
    assert "decoded in" not in shown.out
    assert shown.out.endswith("; every run decodes it again\n")
