"""What holds for every set of images in its published format."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from fedsim.data.sides import check_splits
from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from fedsim.prepare import main as prepare
from support.data_checks import pairs, refuse
from support.data_sets import small_sets_may_warn
from support.published_images import WRITERS, write_emnist

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]

every_set = pytest.mark.parametrize("name", sorted(WRITERS))


@every_set
def test_images_are_bytes_with_a_class_each(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    splits = sources.build(name).load(tmp_path)
    check_splits(splits)
    for samples in (splits.train, splits.test):
        images = samples.pick(torch.arange(len(samples)))
        assert isinstance(images, torch.Tensor)
        assert images.dtype == torch.uint8
        assert images.shape == (len(samples), *splits.input_shape)
        assert samples.labels.dtype == torch.int64
        assert samples.labels.max() < splits.num_classes
    assert splits.one_size


@every_set
def test_what_was_converted_is_mapped_and_shown_to_check(
    name: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[name](tmp_path)
    source = sources.build(name)
    first = source.prepare(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("fedsim.data.storage.converted.store_images", refuse)
        patch.setattr("fedsim.data.sources.femnist.convert_users", refuse)
        patch.setattr("fedsim.data.images.image_files._decode_into", refuse)
        second = source.load(tmp_path)
        sketch = source.sketch(tmp_path)
    assert str(cache / f"{name}-") in Path("/proc/self/maps").read_text()
    for side in ("train", "test"):
        assert pairs(getattr(first, side)) == pairs(getattr(second, side))
        if sketch is not None:
            assert pairs(getattr(first, side)) == pairs(getattr(sketch, side))
    assert (sketch is None) == (name in {"cinic10", "tiny_imagenet"})


@every_set
def test_check_names_labels_without_decoding(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[name](tmp_path)
    source = sources.build(name)
    with monkeypatch.context() as patch:
        patch.setattr("fedsim.data.images.image_files._decode_into", refuse)
        patch.setattr("fedsim.data.storage.cache._fill", refuse)
        assert source.sketch(tmp_path) is None
        sides = source.survey(tmp_path)
    splits = source.load(tmp_path)
    assert (sides is None) == (name in {"femnist"})  # gigabytes of text
    if sides is not None:
        assert torch.equal(sides[0].labels, splits.train.labels)
        assert torch.equal(sides[1].labels, splits.test.labels)


@every_set
@pytest.mark.parametrize("make_it", [True, False], ids=["empty root", "no root"])
def test_a_root_without_the_data_is_named_with_what_to_do(name: str, make_it: bool, tmp_path: Path) -> None:
    root = tmp_path / "root"
    if make_it:
        root.mkdir()
    for act in (sources.build(name).check, sources.build(name).load):
        with pytest.raises(ConfigError) as raised:
            act(root)
        assert raised.value.key == "root"
        assert str(root) in raised.value.problem
        assert str(root) in raised.value.remedy


def test_other_settings_are_another_cache(tmp_path: Path, cache: Path) -> None:
    for split in ("balanced", "letters"):
        write_emnist(tmp_path, split)
        sources.build("emnist", split=split).load(tmp_path)
    assert len(list(cache.iterdir())) == 2


def test_published_statistics_are_of_the_training_images_alone(tmp_path: Path) -> None:
    WRITERS["cinic10"](tmp_path)
    own = sources.build("cinic10")
    assert "published" in str(own.statistics(own.load(tmp_path)))
    joined = sources.build("cinic10", with_validation=True)
    splits = joined.load(tmp_path)
    statistics = joined.statistics(splits)
    pixels = splits.train.pick(torch.arange(len(splits.train)))
    assert isinstance(pixels, torch.Tensor)
    assert np.allclose(statistics.mean, (pixels / 255.0).mean((0, 2, 3)), atol=1e-6)


@every_set
def test_prepare_says_what_is_ready(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    WRITERS[name](tmp_path)
    assert prepare([name, "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert re.match(rf"(fedsim: )?{name} is ready: \d+ samples to train, \d+ to test", out)
