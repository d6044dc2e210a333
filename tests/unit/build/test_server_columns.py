"""Where the server works: what the configuration says, what fits into memory, what works on some columns."""

import logging

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, aggregators
from fedsim.attacks import Attack, AttackView, attacks
from fedsim.build.components import build_components
from fedsim.build.server_columns import server_columns
from fedsim.comm import RankPlace, SingleProcess
from fedsim.comm.devices import RankDevice
from fedsim.evaluation.metrics import Metric, RoundRows, metrics
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.row_columns import RowColumns
from support.configuration import configured

MODEL = (100_000, 20)
"""Parameters and buffers: of 10 clients 4 MB."""


class Pretended(SingleProcess):
    """One of several ranks, which answers for all of them."""

    def __init__(self, rank: int = 0, size: int = 3, *, shares_memory: bool = False) -> None:
        super().__init__()
        self.place, self._shares_memory = RankPlace(rank, size, rank, size), shares_memory

    @property
    def shares_memory(self) -> bool:
        return self._shares_memory

    def all_gather(self, tensor: Tensor) -> Tensor:
        return torch.stack([tensor] * self.size)


def columns(comm: Pretended, *overrides: str) -> RowColumns:
    return server_columns(build_components(configured("clients.count=10", *overrides)), comm, *MODEL)


def is_sharded(comm: Pretended, *overrides: str) -> bool:
    return columns(comm, *overrides).seen is not None


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIM_MEMORY_GB", "0.005")


def test_the_configuration_is_followed_whatever_the_memory_is() -> None:
    for shares_memory in (True, False):
        comm = Pretended(shares_memory=shares_memory)
        assert is_sharded(comm, "server.sharded=true")
        assert not is_sharded(comm, "server.sharded=false")
        assert not is_sharded(comm)  # auto, and there is room


@pytest.mark.usefixtures("little_memory")
def test_auto_is_some_columns_where_the_rows_do_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert is_sharded(Pretended())
    assert "which rank 0 does not have" in caplog.text
    assert not is_sharded(Pretended(), "clients.fraction=0.5")  # half the rows fit
    assert not is_sharded(Pretended(shares_memory=True))  # one matrix in either case
    assert not is_sharded(Pretended(), "server.sharded=false")


@pytest.mark.usefixtures("little_memory")
def test_what_rank_0_finds_decides_for_all() -> None:
    """Another rank alone would shard although rank 0 has room, or the other way round: then they would hang."""
    assert not is_sharded(Pretended(rank=1))


def test_one_rank_or_one_client_is_whole() -> None:
    assert not is_sharded(Pretended(size=1), "server.sharded=true")
    assert not is_sharded(Pretended(), "server.sharded=true", "clients.count=1", "attack.num_byzantine=0")


def test_buffers_are_in_the_row_if_the_configuration_says_so() -> None:
    for in_row, of_server in ((True, "in_row"), (False, "cwmed")):
        found = columns(Pretended(), "server.sharded=true", f"server.buffers={of_server}")
        assert found.in_row == in_row
        assert found.seen is not None
        assert found.seen.total == MODEL[0] + MODEL[1] * in_row


class PlainRule(Aggregator):
    """An aggregator that promises nothing."""

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        raise NotImplementedError


class PlainAttack(Attack):
    """An attack that promises nothing."""

    def craft(self, view: AttackView) -> Tensor:
        raise NotImplementedError


class PlainMetric(Metric):
    """A metric that promises nothing."""

    def of_rows(self, rows: RoundRows) -> float:
        raise NotImplementedError


OBSTACLES = {
    "aggregator={name: plain_rule}": "for the aggregator plain_rule does not declare that it works on some columns",
    "attack={name: plain_attack, num_byzantine: 1}": "for the attack plain_attack does not declare",
    "evaluation.metrics=[{name: plain_metric}]": "for the metric plain_metric does not declare",
    "server.optimizer={name: adafactor, lr: 0.1}": "for the optimiser adafactor does not step each value by its own",
}


@pytest.mark.parametrize(("override", "said"), OBSTACLES.items(), ids=["aggregator", "attack", "metric", "optimizer"])
def test_what_cannot_work_on_some_columns_runs_whole_with_one_notice(
    override: str, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(aggregators._entries, "plain_rule", PlainRule)
    monkeypatch.setitem(attacks._entries, "plain_attack", PlainAttack)
    monkeypatch.setitem(metrics._entries, "plain_metric", PlainMetric)
    monkeypatch.setattr(PlainMetric, "name", "plain_metric")
    monkeypatch.setattr(PlainRule, "name", "plain_rule")
    monkeypatch.setattr(PlainAttack, "name", "plain_attack")
    for rank in range(3):
        assert not is_sharded(Pretended(rank), "server.sharded=true", override)
    assert len(caplog.records) == 1
    assert f"the server works whole on rank 0, {said}" in caplog.text
    caplog.clear()
    assert not is_sharded(Pretended(), "server.sharded=false", override)
    assert not caplog.records


def test_ranks_that_may_round_differently_run_whole(caplog: pytest.LogCaptureFixture) -> None:
    """Each would decide by itself, on other columns of the same rows."""

    class Mixed(Pretended):
        def all_gather(self, tensor: Tensor) -> Tensor:
            return torch.stack([tensor, tensor, tensor + 1])  # another processor

    assert not is_sharded(Mixed(), "server.sharded=true")
    assert "for the ranks have different processors, GPUs or versions of torch" in caplog.text
    caplog.clear()
    comm = Pretended()
    comm.devices = [RankDevice("one", "H100, 80 GB"), RankDevice("one", "H100, 80 GB"), RankDevice("two", "A100")]
    assert not is_sharded(comm, "server.sharded=true")
    assert len(caplog.records) == 1
