"""The model of cost, fitted to readings of known costs."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from fedsim.benchmark.cost_model import Cluster, CostModel, memory
from fedsim.benchmark.scaling_page import scaling_lines

VALUES, GROWTH = {"cwtm": 9e-9, "krum": 4e-9}, {"cwtm": 0.0, "krum": 2e-11}


def reading(name: str, clients: int, columns: int) -> dict[str, Any]:
    """What a machine with constants of our choice would report."""
    server = VALUES[name] * clients * columns + GROWTH[name] * clients**2 * columns
    seconds = {
        "local_work": 5e-3 * clients,
        "attack": 2e-9 * clients * columns,
        "aggregate": server,
        "diagnose": 1e-9 * clients * columns,
        "evaluate": 0.1,
        "record": 0.01 + 3e-5 * clients,
    }
    per_client = {phase: 1e3 * value / clients for phase, value in seconds.items()}
    figures = {"clients": clients, "D": columns, "ranks": 1, **per_client}
    return {"name": f"{name}, {clients} clients", "seconds": [sum(seconds.values())], "figures": figures}


READINGS = [reading(name, clients, 50_000) for name in VALUES for clients in (100, 300, 1000)]


def test_fitting_finds_the_constants() -> None:
    model = CostModel.fit(READINGS)
    assert model.values == pytest.approx(VALUES, rel=1e-6)
    assert model.growth == pytest.approx(GROWTH, rel=1e-6, abs=1e-20)
    assert (model.per_client, model.attack, model.diagnose) == pytest.approx((5e-3, 2e-9, 1e-9))
    assert (model.evaluation, model.records, model.record) == pytest.approx((0.1, 0.01, 3e-5))


@pytest.mark.parametrize(("name", "clients", "columns"), [("krum", 700, 50_000), ("cwtm", 40, 1_000_000)])
def test_it_predicts_what_was_not_measured(name: str, clients: int, columns: int) -> None:
    predicted = CostModel.fit(READINGS).round(name, clients, columns, Cluster())
    (expected,) = reading(name, clients, columns)["seconds"]
    assert predicted == pytest.approx(expected, rel=1e-6)


def test_ranks_divide_local_work_and_a_sharded_server() -> None:
    model = CostModel.fit(READINGS)
    one, four, sharded = Cluster(), Cluster(ranks=4), Cluster(ranks=4, sharded=True)
    assert model.local_work(10, four) == pytest.approx(3 * 5e-3)  # of 3, 3, 2 and 2 clients
    assert model.server("krum", 10, 100, four) == model.server("krum", 10, 100, one)
    assert model.server("krum", 10, 100, sharded) == pytest.approx(model.server("krum", 10, 100, one) / 4)


def test_what_travels_between_hosts() -> None:
    model = CostModel.fit(READINGS)
    network = Cluster(ranks=8, hosts=4, bandwidth=1e9)
    rows_of_others = 4 * 100 * 1000 * 3 / 4
    assert model.gather(100, 1000, Cluster(ranks=8)) == 0
    assert model.gather(100, 1000, network) == pytest.approx(rows_of_others / 1e9)
    assert model.gather(100, 1000, replace(network, sharded=True)) == pytest.approx(rows_of_others / 4 / 1e9)


def test_memory_of_rows() -> None:
    assert memory(10, 1000, Cluster(ranks=4)) == 40_000
    assert memory(10, 1000, Cluster(ranks=4, sharded=True)) == 4 * 1000 * 10 / 4
    assert memory(10, 1000, Cluster(ranks=4, hosts=2, sharded=True)) == 4 * 1000 * (10 / 4 + 3)


def test_where_growth_dominates() -> None:
    model = CostModel.fit(READINGS)
    assert model.growth_dominates_from("krum") == pytest.approx((4e-9 + 3e-9) / 2e-11)
    assert model.growth_dominates_from("cwtm") == inf or model.growth_dominates_from("cwtm") > 1e6


def test_the_page_compares_model_and_measurement() -> None:
    report = {"command": "c", "machine": {"words": "m", "warning": "busy"}, "readings": READINGS}
    lines = list(scaling_lines(report))
    assert "**busy**" in lines
    rows = [line.strip("| ").split(" | ") for line in lines if " clients |" in line]
    assert len(rows) == len(READINGS)
    assert all(float(measured) == pytest.approx(float(model), abs=0.011) for _, measured, model in rows)
