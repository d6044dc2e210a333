"""The work that all contestants do."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision.datasets import MNIST

from fedsim.benchmark.peers import byzfl_classes, plain_loop
from fedsim.benchmark.peers.byzfl_grid import AGGREGATORS, ATTACKS, config
from fedsim.benchmark.peers.contest import prepare_grid, prepare_run
from fedsim.benchmark.peers.contestants import CONFIG, SWEEP, fedsim_config, of_contestant
from fedsim.benchmark.peers.task import Data, Task, small_cnn
from fedsim.build.components import build_components
from fedsim.build.parts import local_work
from fedsim.config.run import parse_config
from fedsim.config.source import read_yaml
from fedsim.models import models
from fedsim.sweep.plan import read_sweep
from fedsim.training.client import count_batches

TASK = Task(rounds=4, clients=5, trimmed=1, steps=4)


def test_the_model_written_by_hand_is_that_of_fedsim() -> None:
    ours = models.build("small_cnn").build((1, 28, 28), 10)
    by_hand = small_cnn()
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(by_hand(images), ours.eval()(images))


def test_fedsim_is_given_the_same_steps_and_samples(tmp_path: Path) -> None:
    prepare_run(TASK, tmp_path)
    data = Data.load(tmp_path)
    assert Task.load(tmp_path) == TASK
    assert sorted(torch.cat(data.client_indices).tolist()) == list(range(4000))
    assert len(data.test[1]) == 1000
    work = local_work(build_components(parse_config(read_yaml(tmp_path / CONFIG))))
    counts = {count_batches(len(indices), work) for indices in data.client_indices}
    assert counts == {TASK.steps}
    assert all(len(indices) >= TASK.steps * TASK.batch_size for indices in data.client_indices)


@pytest.mark.parametrize("do_the_task", [plain_loop.main, byzfl_classes.main], ids=["plain", "byzfl"])
def test_contestants_learn(do_the_task: Callable[[Path], None], tmp_path: Path) -> None:
    prepare_run(TASK, tmp_path)
    with torch.random.fork_rng():
        do_the_task(tmp_path)
        result = of_contestant(tmp_path)
        do_the_task(tmp_path)
    assert of_contestant(tmp_path).accuracy == result.accuracy  # the draws are the same each time
    assert 0.2 < result.accuracy < 1  # chance is 0.1
    assert {"local work", "evaluate"} <= result.seconds.keys()
    assert all(len(of_rounds) == TASK.rounds for of_rounds in result.seconds.values())


def test_both_grids_have_the_same_cells(tmp_path: Path) -> None:
    prepare_grid(TASK, tmp_path)
    sweep = read_sweep(tmp_path / SWEEP)
    assert len(sweep.cells) == len(AGGREGATORS) * len(ATTACKS) == 9
    components = [build_components(parse_config(cell.config)) for cell in sweep.cells]
    assert {one.config.aggregator.name for one in components} == {"cwtm", "cwmed", "krum"}
    byzantine = {one.config.attack[0].count(TASK.clients) for one in components}
    of_byzfl = config(TASK)["benchmark_config"]
    assert byzantine == set(of_byzfl["f"])
    assert of_byzfl["nb_honest_clients"] + TASK.trimmed == TASK.clients
    idle = {one.attack_plan.always_idle for one in components}
    assert idle == {frozenset({4})}, "Byzantine clients do not train, as in ByzFL"


def test_torchvision_reads_the_digits_that_are_written_for_byzfl(tmp_path: Path) -> None:
    prepare_grid(TASK, tmp_path)
    splits = build_components(parse_config(fedsim_config(TASK, tmp_path))).source.load(None)
    for is_train, samples in ((True, splits.train), (False, splits.test)):
        read = MNIST(str(tmp_path / "data"), train=is_train)
        assert torch.equal(read.targets, samples.labels)
        images = samples.pick(torch.arange(len(samples)))
        assert isinstance(images, torch.Tensor)
        assert torch.equal(read.data, images.squeeze(1))
