"""Runs on data as labs have them: the published formats, real splits, augmentations."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fedsim.main import main
from support.data_sets import write_cifar10, write_class_folders, write_flamby_isic
from support.forked_ranks import forked_ranks
from support.runs import final_state

SMALL = ["model={name: small_cnn, width: 4, hidden: 8}", "clients.batch_size=4", "tracking.tensorboard=false"]

ISIC = [
    *SMALL,
    "data.name=fed_isic2019",
    "data.crop=200",
    "data.resolution=24",
    "data.augment=[{name: flip, vertical: 0.5}, {name: rotation}, {name: color_jitter}]",
    "data.partition={name: natural}",
    "clients.count=6",
    "attack={name: alie, num_byzantine: 2}",
]


@pytest.fixture(scope="module")
def isic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("isic")
    write_flamby_isic(folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FEDSIM_CACHE", str(folder))
    return folder


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_centres_augmented_on_three_ranks_and_resumed_give_the_bits_of_one(
    tmp_path: Path, isic: Path, cache: Path
) -> None:
    """The ranks begin with an empty cache: they decode the images and compute what these are normalised by."""
    common = [*ISIC, f"data.root={isic}", f"output_dir={tmp_path}"]
    started = forked_ranks(3, *common, "rounds=2", "run_name=three")
    assert started.status == 0, started.err
    assert started.err.count("fedsim: images are normalised by mean ") == 1
    assert started.err.count(f" in the cache {cache}, where ") == 1
    assert main([*common, "rounds=3", "run_name=one"]) == 0
    resumed = forked_ranks(2, *common, "rounds=3", "run_name=three", "--resume")
    assert resumed.status == 0, resumed.err
    one, three = tmp_path / "one", tmp_path / "three"
    assert torch.equal(final_state(one, 3), final_state(three, 3))
    assert [record["clients"] for record in records(one)] == [record["clients"] for record in records(three)]
    images, statistics = sorted(folder.name for folder in cache.iterdir())  # one decoding, nothing half
    assert images.startswith("fed_isic2019-")
    assert statistics.startswith("fed_isic2019-statistics-")


def test_a_run_reports_the_accuracy_of_each_centre_and_leaves_its_split(tmp_path: Path, isic: Path) -> None:
    assert main([*ISIC, f"data.root={isic}", f"output_dir={tmp_path}", "rounds=1", "run_name=run"]) == 0
    (record,) = records(tmp_path / "run")
    by_client = record["clients"]["test_accuracy"]
    assert record["worst_client_accuracy"] == min(by_client.values())
    assert record["mean_client_accuracy"] == pytest.approx(sum(by_client.values()) / len(by_client))
    assert 0 <= record["macro_f1"] <= 1
    split = json.loads((tmp_path / "run" / "partition.json").read_text())
    assert sorted(index for share in split["clients"] for index in share) == list(range(32))
    with Image.open(tmp_path / "run" / "partition.png") as picture:
        assert picture.size[0] > 100


def test_a_saved_split_gives_the_run_that_it_was_saved_by(tmp_path: Path) -> None:
    common = [*SMALL, "data.name=synthetic", "data.shape=[1, 16, 16]", "data.num_train=200", "rounds=1"]
    common += ["attack=[]", f"output_dir={tmp_path}"]
    assert main([*common, "run_name=drawn", "data.partition={name: shards}"]) == 0
    path = tmp_path / "drawn" / "partition.json"
    assert main([*common, "run_name=read", f"data.partition={{name: file, path: {path}}}", "seed=0"]) == 0
    assert torch.equal(final_state(tmp_path / "drawn", 1), final_state(tmp_path / "read", 1))


def test_resuming_on_other_data_is_refused(tmp_path: Path, isic: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = shutil.copytree(isic, tmp_path / "data")
    common = [*ISIC, f"data.root={root}", f"output_dir={tmp_path}", "run_name=run"]
    assert main([*common, "rounds=1"]) == 0
    lines = (root / "train_test_split").read_text().splitlines(keepends=True)
    (root / "train_test_split").write_text("".join(lines[:1] + lines[2:]))
    assert main([*common, "rounds=2", "--resume"]) == 2
    assert "the data are not those" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.crop=225", "data.crop: 225 is larger than the smallest image, 224 x 224"),
        ("data.crop=null", "data.crop: images differ in size"),
        ("data.normalize={mean: [0.5], std: [1.0]}", "data.normalize.mean: 1 values for 3 channels"),
        ("data.normalize=imagenet", "data.normalize"),
        ("data.augment=[{name: flop}]", "data.augment.0.name: unknown augmentation 'flop'; did you mean 'flip'?"),
        ("data.augment=[{name: flip, vertikal: 1.0}]", "data.augment.0.vertikal"),
        ("data.partition={name: natural, column: hospital}", "data.partition.column"),
        ("clients.count=7", "clients.count: 7, but the data have 6"),
        ("data.partition={name: file}", "data.partition.path: missing"),
        ("data.root=/nowhere", "data.root: there is no folder /nowhere"),
    ],
)
def test_a_mistake_about_data_is_one_sentence(
    tmp_path: Path, isic: Path, override: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*ISIC, f"data.root={isic}", f"output_dir={tmp_path}", override]) == 2
    err = capfd.readouterr().err
    assert says in err
    assert err.count("configuration error") == 1
    assert "Traceback" not in err


def test_cifar_through_torchrun_accepts_other_files_than_the_published_only_when_told(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "data")
    options = [f"data.root={tmp_path / 'data'}", "data.name=cifar10", f"output_dir={tmp_path}", "rounds=1"]
    options += ["data.augment=[{name: padded_crop}, {name: flip}]", "clients.count=4"]
    options += [*SMALL, "attack={name: alie, num_byzantine: 1}"]
    refused = forked_ranks(3, *options)
    assert refused.status != 0
    assert refused.err.count("data_batch_1 is not the published file") == 1
    done = forked_ranks(3, *options, "data.verify=false")
    assert done.status == 0, done.err
    assert not [name for name in os.listdir(tmp_path / "data") if name.startswith(".")]


def test_check_looks_at_folders_and_tables_and_decodes_nothing(
    tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_class_folders(tmp_path / "train", ("ant", "bee"))
    write_class_folders(tmp_path / "test", ("bee",))
    arguments = ["--check", "data.name=image_folder", f"data.root={tmp_path}"]
    assert main(arguments) == 0
    shown = capfd.readouterr()
    assert "fedsim: warning: class 'ant' has training samples but no test samples" in shown.err
    assert shown.out == "the configuration is valid\n"
    (tmp_path / "metadata.csv").write_text("file_name,site\ntrain/ant/0.jpg,a\ntrain/ant/0.jpg,b\n")
    assert main(arguments) == 2
    assert "line 3: image train/ant/0.jpg is there twice (see line 2)" in capfd.readouterr().err
    assert list(cache.iterdir()) == []


COUNTING = """
import os, tempfile
import fedsim.data.images.image_files as image_files

os.environ["FEDSIM_CACHE"] = "/proc/none"
tempfile.tempdir = "{scratch}"
read = image_files.read_rgb


def counted(*arguments, **keywords):
    with open("{scratch}/decoded.txt", "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    return read(*arguments, **keywords)


image_files.read_rgb = counted
"""


def test_ranks_without_a_cache_decode_once_and_say_so_once(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "set", per_class=6)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "count.py").write_text(COUNTING.format(scratch=tmp_path / "scratch"))
    ranks = forked_ranks(
        3,
        f"--plugin={tmp_path / 'count.py'}",
        *[*SMALL, "data.name=image_folder", f"data.root={tmp_path / 'set'}", "data.resize=24", "clients.count=3"],
        *["attack={name: none, num_byzantine: 0}", "rounds=1", f"output_dir={tmp_path / 'runs'}"],
    )
    assert ranks.status == 0, ranks.err
    assert ranks.err.count("fedsim: warning: the cache /proc/none cannot be written") == 1
    decoded = (tmp_path / "scratch" / "decoded.txt").read_text().split()
    assert len(decoded) == 12
    assert len(set(decoded)) == 1
