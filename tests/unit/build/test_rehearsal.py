"""What --check tries: sizes against the memory there is, the model, and the partition."""

import warnings
from time import monotonic

import pytest
import torch

from fedsim import machine
from fedsim.build.components import build_components
from fedsim.build.model import memory_errors_named
from fedsim.build.rehearsal import rehearse
from fedsim.data import Splits
from fedsim.data.sources import sources
from fedsim.errors import ConfigError, FedsimWarning, keys_under
from support.configuration import configured

GB = 10**9


@pytest.fixture(autouse=True)
def _eight_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: 8 * GB)


def check(*overrides: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FedsimWarning)  # of clients that never train
        rehearse(build_components(configured(*overrides)))


@pytest.mark.parametrize(
    ("overrides", "key", "words"),
    [
        (["data.name=synthetic", "data.num_train=3000000"], "data.num_train", "18.9 GB of memory, and 8.0 GB are"),
        (["data.name=synthetic", "data.num_test=90000000"], "data.num_test", "8.0 GB are available; take fewer"),
        (["data.name=synthetic", "data.shape=[3, 9000, 9000]"], "data.shape", "8.0 GB are available"),
        (["model.name=mlp", "model.hidden=[100000, 90000]"], "model", "parameters and their gradients take 72.6 GB"),
        (["model.width=9000", "model.hidden=1000000"], "model", "of memory, and 8.0 GB are available"),
        (["clients.count=3000", "model.width=400"], "clients.count", "the updates of 3000 clients with 8"),
        (["data.resize=16000"], "clients.batch_size", "batches of 32 inputs of [1, 16000, 16000] take 32.8 GB"),
        (["data.resize=3000", "evaluation.batch_size=1000"], "evaluation.batch_size", "take 36.0 GB"),
    ],
)
def test_what_does_not_fit_into_memory_is_said_with_both_sizes(overrides: list[str], key: str, words: str) -> None:
    started = monotonic()
    with pytest.raises(ConfigError) as caught:
        check(*overrides)
    assert caught.value.key == key
    assert words in str(caught.value)
    assert monotonic() - started < 20


def test_rows_that_lie_on_several_hosts_need_not_fit_on_this_one() -> None:
    check("clients.count=3000", "model.width=400", "data.partition.min_samples=0", "server.sharded=true")


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["clients.count=5000"], "clients.count"),
        (["clients.count=900", "data.partition.min_samples=20"], "clients.count"),
        (["data.partition.name=shards", "data.partition.shards_per_client=900"], "data.partition.shards_per_client"),
        (["data.partition.name=natural"], "data.partition.column"),
        (["clients.count=900", "data.imbalance=1000"], "clients.count"),
        (["data.crop=40"], "data.crop"),
        (["data.resolution=8"], "model.name"),
        (["model.freeze=[nothing.*]"], "model.freeze.0"),
        (["data.name=synthetic", "data.shape=[5]"], "model.name"),
        (["data.normalize={mean: [0.1, 0.2], std: [1, 1]}"], "data.normalize.mean"),
    ],
)
def test_what_a_run_finds_out_after_its_start_is_found_now(overrides: list[str], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(*overrides)
    assert caught.value.key == key


def test_the_largest_configuration_that_fits_is_checked_at_once() -> None:
    started = monotonic()
    check(
        "rounds=1000000000", "clients.count=100000", "attack.num_byzantine=3000", "attack.redraw_every=1",
        "data.name=synthetic", "data.num_train=900000", "data.shape=[3]", "model.name=mlp", "model.hidden=[8]",
    )  # fmt: skip
    assert monotonic() - started < 20


def test_nothing_is_drawn_for_a_sketch(monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources.build("synthetic", num_train=1_000_000, shape=[3, 16, 16])
    monkeypatch.setattr(torch, "randn", None)
    splits = source.sketch(None)
    assert isinstance(splits, Splits)
    assert splits.train.pick(torch.tensor([7]))[0].shape == (3, 16, 16)


def test_a_sketch_has_the_labels_and_shapes_of_the_data() -> None:
    source = sources.build("synthetic", num_train=25, num_test=7, num_classes=4, shape=[2, 3])
    sketch, loaded = source.sketch(None), source.load(None)
    assert isinstance(sketch, Splits)
    for one, other in ((sketch.train, loaded.train), (sketch.test, loaded.test)):
        assert torch.equal(one.labels, other.labels)
        assert one.pick(torch.tensor([1]))[0].shape == other.pick(torch.tensor([1]))[0].shape
    assert (sketch.class_names, sketch.input_shape) == (loaded.class_names, loaded.input_shape)


def test_a_model_for_which_there_is_no_memory_is_named_in_a_run_too() -> None:
    sentence = r"^model: there is no memory for it: .*; take a smaller model"
    with pytest.raises(ConfigError, match=sentence), keys_under("model"), memory_errors_named():
        torch.empty(10**15)
    with pytest.raises(RuntimeError, match="another"), memory_errors_named():
        raise RuntimeError("another")
