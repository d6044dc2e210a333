"""What a GPU would refuse or wait for, found without one: every method on a pretended GPU."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fedsim.aggregators.base import aggregators
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks.base import attacks
from fedsim.build.components import build_components
from fedsim.build.run import open_run
from fedsim.comm import RankPlace, communicator
from fedsim.comm.rows import LocalRows
from fedsim.config.run import parse_config
from fedsim.seeds import seeded
from fedsim.server.client_momentum import ClientMomentum
from fedsim.training import client as client_module
from support.aggregation import case_id
from support.cuda_counts import BLOCK, BLOCKS, Counts, counts_of_attack, counts_of_defence
from support.pretend_cuda import CPU, GPU, PretendCuda
from support.states import through_json
from support.texts import write_play

MOST_WAITS = 40
"""Of any method that does not try out others."""
MOST_LAUNCHES = 2000
"""Of any method, with 22 million columns, for each aggregator that it asks."""
FEW, MANY = 2, 5
"""Blocks that are counted."""
MOST_MEMORY = 2.5
"""In matrices [K, D] beside the one that is given, with that many blocks."""
ROUNDING = 2
"""Waits that rounding may decide on: whether mixed rows that nearly coincide are looked at once more."""

pytestmark = pytest.mark.filterwarnings("ignore")


def assert_within_limits(count: Callable[[int], Counts], waits_of_a_try: int = 0, members: int = 1) -> None:
    """Waits do not depend on the length of the rows; launches are extrapolated to 22 million columns."""
    few, many = count(FEW * BLOCK), count(MANY * BLOCK)
    assert many.waits <= few.waits + ROUNDING, many.places
    assert many.waits <= members * MOST_WAITS + waits_of_a_try * many.tries, many.places
    assert many.memory <= MOST_MEMORY
    launches = many.launches + (BLOCKS - MANY) * (many.launches - few.launches) / (MANY - FEW)
    assert launches <= MOST_LAUNCHES * max(members, many.tries)


@pytest.mark.parametrize("name", sorted(aggregators.describe()))
def test_an_aggregator_stays_on_one_device_and_waits_no_more_for_longer_rows(name: str) -> None:
    assert_within_limits(lambda columns: counts_of_defence(Defence(aggregators.build(name)), columns))


@pytest.mark.parametrize("pre", sorted(pre_aggregators.describe()))
@pytest.mark.parametrize("name", ["krum", "cwtm", "fedseca"])
def test_a_pre_aggregator_stays_on_one_device_and_waits_no_more_for_longer_rows(pre: str, name: str) -> None:
    def count(columns: int) -> Counts:
        return counts_of_defence(Defence(aggregators.build(name), [pre_aggregators.build(pre)]), columns)

    assert_within_limits(count, members=2)


@pytest.mark.parametrize("name", sorted(attacks.describe()))
def test_an_attack_stays_on_one_device_and_waits_no_more_for_longer_rows(name: str) -> None:
    # A search must have the answer to each try before it asks again: it waits for the defence, and for its step.
    assert_within_limits(lambda columns: counts_of_attack(attacks.build(name), columns), waits_of_a_try=2)


VARIANTS_OF_AGGREGATORS: list[tuple[str, dict[str, Any]]] = [
    ("fedseca", {"variant": "released_code", "momentum": 0.5}),
    ("fedseca", {"election": "magnitude"}),
    ("fedseca", {"election": "uniform", "clip": False, "clamp": False, "agree": False}),
    ("ties", {"election": "magnitude"}),
    ("cwtm", {"num_byzantine": 1}),
    ("fedavg", {"weighting": "samples"}),
]
VARIANTS_OF_ATTACKS: list[tuple[str, dict[str, Any]]] = [
    ("fang", {"target": "krum"}),
    ("fang", {"target": "trimmed_mean"}),
    ("agr_tailored", {"search": "released"}),
    ("alie", {"z": "auto"}),
    ("min_max", {"direction": "sign"}),
    ("min_sum", {"direction": "std"}),
    ("poisonedfl", {"period": 1}),
    ("rop", {"angle": 180}),
]


@pytest.mark.parametrize(("name", "settings"), VARIANTS_OF_AGGREGATORS, ids=case_id)
def test_further_settings_of_an_aggregator_stay_on_one_device(name: str, settings: dict[str, Any]) -> None:
    assert counts_of_defence(Defence(aggregators.build(name, **settings)), FEW * BLOCK).waits <= MOST_WAITS


@pytest.mark.parametrize(("name", "settings"), VARIANTS_OF_ATTACKS, ids=case_id)
def test_further_settings_of_an_attack_stay_on_one_device(name: str, settings: dict[str, Any]) -> None:
    counts = counts_of_attack(attacks.build(name, **settings), FEW * BLOCK)
    assert counts.waits <= MOST_WAITS + 2 * counts.tries, counts.places


def test_a_momentum_that_comes_from_a_checkpoint_meets_rows_on_a_gpu() -> None:
    first, second = ClientMomentum(0.5), ClientMomentum(0.5)
    first.apply([torch.ones(3)], [0])
    second.load_state_dict(through_json(first.state_dict()))
    with PretendCuda():
        row = torch.zeros(3, device="cuda")
        second.apply([row], [0])
        assert row.is_cuda
        assert row.tolist() == [0.25] * 3


RUN = {
    "clients": {"local_steps": 1, "momentum": 0.5, "clip_norm": 1.0, "proximal": 0.1},
    "model": {"name": "small_cnn", "batch_norm": True},
    "attack": {"name": "fang", "num_byzantine": 3},
    "aggregator": {"name": "fedseca", "momentum": 0.5},
    "server": {"optimizer": {"name": "adam", "lr": 0.001}},
    "runtime": {"check_every": 1},
}

PROPERTIES = SimpleNamespace(
    name="pretended", total_memory=1 << 36, uuid="0", pci_domain_id=0, pci_bus_id=0, pci_device_id=0
)
"""Of the GPU, for those who ask the driver."""


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs find a GPU."""
    monkeypatch.setattr(client_module, "seeded", lambda seed, device=None: seeded(seed))  # asks the driver
    monkeypatch.setattr(RankPlace, "device", lambda self, wanted: GPU)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: PROPERTIES)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 36, 1 << 36))


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize("rows", ["own GPU", "shared GPU"])
def test_a_run_and_its_resumption_stay_on_one_device(
    rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rows == "shared GPU":
        monkeypatch.setattr(communicator, "LocalRows", lambda slots, columns, device: LocalRows(slots, columns, CPU))
    for rounds in (1, 2):
        components = build_components(parse_config({**RUN, "rounds": rounds, "output_dir": str(tmp_path)}))
        with PretendCuda() as gpu:
            run = open_run(components, RankPlace(0, 1, 0, 1), resume=rounds == 2)
            assert run.simulation.done == rounds - 1
            assert run.simulation.model.state.is_cuda
            run.close(run.simulation.run())
        assert not gpu.alerts, "a deterministic run would refuse it"


SEQUENCES = {
    "clients": {
        "count": 3,
        "local_steps": 2,
        "batch_size": 4,
        "micro_batches": 2,
        "loss": {"name": "focal", "class_weights": "client"},
    },
    "attack": {"name": "label_flip", "num_byzantine": 1},
    "aggregator": {"name": "cwmed"},
    "rounds": 1,
}


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize(
    "model",
    [{"name": "lstm", "hidden": 8}, {"name": "transformer", "width": 8, "heads": 2, "dropout": 0.1}],
    ids=lambda model: model["name"],
)
def test_training_and_evaluation_of_sequences_stay_on_one_device_and_never_wait_within_a_pass(
    model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.LSTM, "flatten_parameters", lambda self: None)  # of cuDNN, which is not pretended
    write_play(tmp_path, 200)
    data = {"name": "shakespeare", "root": str(tmp_path), "length": 10, "per_token": True}
    data |= {"placement": "device", "partition": {"name": "natural"}}
    components = build_components(
        parse_config({**SEQUENCES, "data": data, "model": model, "output_dir": str(tmp_path / "runs")})
    )
    with PretendCuda() as gpu:
        run = open_run(components, RankPlace(0, 1, 0, 1), resume=False)
        gpu.reset()
        run.close(run.simulation.run())
    assert not gpu.alerts, "a deterministic run would refuse it"
    waits = [count for place, count in gpu.waits.items() if place.startswith(("training/", "evaluation/"))]
    assert sorted(waits) == [1, 3], "once for the evaluation's counts, once for each client's loss"
