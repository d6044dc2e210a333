"""Sweeps: from a file to its cells, and from what runs have left to states and tables."""

import fcntl
import json
import math
import re
from pathlib import Path

import pytest
import yaml

from fedsim.data.sources.cifar import Cifar10
from fedsim.data.sources.eurosat import EuroSat
from fedsim.data.sources.fed_isic2019 import FedIsic2019
from fedsim.errors import ConfigError
from fedsim.sweep.cells import Progress, note_failure, progress_of
from fedsim.sweep.plan import Sweep, read_sweep
from fedsim.sweep.runner import room_for
from fedsim.sweep.tables import keep_results, markdown, seconds_left, status_lines

ROOT = Path(__file__).parents[2]
BASE = ROOT / "configs" / "quickstart.yaml"


def sweep_file(folder: Path, **content: object) -> Path:
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({"base": str(BASE), **content}, sort_keys=False))
    return path


AXES = {"attack": ["none", {"name": "fang", "target": "krum"}], "aggregator": ["cwtm", "krum"], "seed": [0, 1]}


def test_cells_are_the_product_of_the_axes_in_their_order(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, axes=AXES))
    labels = [tuple(cell.labels.values()) for cell in sweep.cells]
    assert labels == [
        (attack, aggregator, seed)
        for attack in ("none", "fang target=krum")
        for aggregator in ("cwtm", "krum")
        for seed in ("0", "1")
    ]
    last = sweep.cells[-1].config
    assert (last["attack"]["name"], last["attack"]["target"], last["seed"]) == ("fang", "krum", 1)
    assert last["attack"]["num_byzantine"] == 3  # of the base
    assert last["aggregator"]["name"] == "krum"
    assert str(sweep.cells[-1].directory).startswith("runs/grid/fang_target=krum/krum/seed1-")


def test_a_cell_is_known_by_what_decides_about_its_results(tmp_path: Path) -> None:
    def marks(*overrides: str, **content: object) -> list[str]:
        return [cell.mark for cell in read_sweep(sweep_file(tmp_path, axes=AXES, **content), overrides).cells]

    plain = marks()
    assert len(set(plain)) == 8
    assert marks("output_dir=elsewhere", "checkpoint.every=1", "runtime.timeout=9") == plain
    assert not set(marks("rounds=21")) & set(plain)
    edited = marks(overrides=[{"where": {"aggregator": "krum", "seed": [1]}, "set": {"rounds": 3}}])
    assert [one == other for one, other in zip(plain, edited, strict=True)] == [True, True, True, False] * 2


def test_exclusions_leave_cells_out(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, axes=AXES, exclude=[{"attack": "none", "seed": 1}]))
    assert len(sweep.cells) == 6
    assert not [cell for cell in sweep.cells if cell.labels["attack"] == "none" and cell.labels["seed"] == "1"]


def test_only_keeps_labels_by_their_first_word(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, axes=AXES)
    sweep = read_sweep(path, only=["attack=fang", "seed=1,0"])
    assert {cell.labels["attack"] for cell in sweep.cells} == {"fang target=krum"}
    assert len(sweep.cells) == 4
    assert list(sweep.axes["seed"]) == ["0", "1"]


def test_an_axis_of_any_name_sets_dotted_keys(tmp_path: Path) -> None:
    axes = {
        "size": {"few": {"clients.count": 5, "attack.num_byzantine": 1}, "many": {"clients.count": 9}},
        "rounds": [2],
    }
    one, other = read_sweep(sweep_file(tmp_path, axes=axes)).cells
    assert (one.config["clients"]["count"], one.config["attack"]["num_byzantine"]) == (5, 1)
    assert (other.config["clients"]["count"], other.config["attack"]["num_byzantine"]) == (9, 3)
    assert one.config["rounds"] == 2
    assert one.directory.name == f"sizefew-rounds2-{one.mark}"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            {"axes": {"attack": ["fagn"]}},
            "cell attack=fagn: attack.name: unknown attack 'fagn'; did you mean",
        ),
        ({"axes": {"atack": ["fang"]}}, r"cell atack=fang: atack: unknown key"),
        ({"axes": {"seed": []}}, "axes.seed: no values"),
        ({"axes": {"seed": [0, 0]}}, "axes.seed: '0' is there twice"),
        ({"axes": {"attack": ["fang", {"name": "fang", "num_byzantine": 3}]}}, "have the same configuration"),
        ({"axes": AXES, "exclude": [{"atack": "none"}]}, "exclude.0.atack: no such axis; did you mean 'attack'"),
        (
            {"axes": AXES, "exclude": [{"attack": "nine"}]},
            "exclude.0.attack: 'nine' is not on it; did you",
        ),
        (
            {"axes": AXES, "overrides": [{"where": {"seed": 7}, "set": {}}]},
            "overrides.0.where.seed: '7' is not",
        ),
        ({"axes": AXES, "exclude": [{}]}, "no cell is left"),
        ({"axes": AXES, "sets": {}}, "sets: unknown key"),
        ({"axes": AXES, "set": {"rounds": -1}}, "cell attack=none, aggregator=cwtm, seed=0: rounds: -1"),
    ],
)
def test_a_mistake_is_told_with_its_file_before_anything_runs(
    tmp_path: Path, content: dict[str, object], says: str
) -> None:
    path = sweep_file(tmp_path, **content)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        read_sweep(path)
    assert re.search(says, str(caught.value)), str(caught.value)


def test_the_sweeps_that_come_with_fedsim_are_valid_where_their_data_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (Cifar10, EuroSat, FedIsic2019):
        monkeypatch.setattr(source, "check", lambda self, root: None)
    files = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
    sizes = {path.stem: len(read_sweep(path).cells) for path in files}
    assert sizes["mnist5k_grid"] == 8 * 7 * 3
    papers = {name: size for name, size in sizes.items() if name.startswith("paper_")}
    assert papers == dict.fromkeys(("paper_cifar10", "paper_eurosat", "paper_fed_isic2019"), 12 * 8 * 3)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return read_sweep(sweep_file(tmp_path, axes=AXES), [f"output_dir={tmp_path}", "rounds=2"])


def leave(sweep: Sweep, position: int, status: str | None, *accuracies: float | None, reason: str = "") -> None:
    """What a run leaves in its directory."""
    directory = sweep.cells[position].directory
    directory.mkdir(parents=True)
    (directory / "config.yaml").touch()
    lines = [json.dumps({"round": number + 1, "accuracy": value}) for number, value in enumerate(accuracies)]
    (directory / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if status is not None:
        (directory / "summary.json").write_text(json.dumps({"status": status, "seconds": 10.0, "reason": reason}))


def states(sweep: Sweep) -> list[str]:
    return [progress_of(cell, sweep.folder).state for cell in sweep.cells]


def test_the_state_of_a_cell_is_what_its_run_has_left(sweep: Sweep) -> None:
    leave(sweep, 0, "completed", 0.5, 0.9)
    leave(sweep, 1, "failed", 0.5, reason="rank 1 died")
    leave(sweep, 2, "diverged", 0.1)
    leave(sweep, 3, "interrupted", 0.5)
    leave(sweep, 4, None, 0.5)  # killed
    leave(sweep, 5, None, None)
    note_failure(sweep.cells[6], sweep.folder, "configuration error: no data")
    with (sweep.cells[5].directory / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert states(sweep) == ["done", "failed", "diverged", "stopped", "stopped", "running", "failed", "pending"]
    assert states(sweep)[5] == "stopped"
    remarks = [progress_of(cell, sweep.folder).remark for cell in sweep.cells]
    assert remarks[0] == "accuracy 0.900 after round 2 of 2"
    assert remarks[1] == "rank 1 died"
    assert remarks[6] == "configuration error: no data"
    note_failure(sweep.cells[6], sweep.folder, "")
    assert states(sweep)[6] == "pending"


def test_a_table_has_mean_deviation_and_the_worst_of_each_row(sweep: Sweep) -> None:
    for position, accuracy in enumerate([0.9, 0.8, 0.7, 0.7, 0.5, 0.1]):
        leave(sweep, position, "completed", 0.3, accuracy)
    leave(sweep, 6, "diverged", 0.1)
    cells = [progress_of(cell, sweep.folder) for cell in sweep.cells]
    spread = [math.sqrt(sum((value - sum(pair) / 2) ** 2 for value in pair)) for pair in ([0.9, 0.8], [0.5, 0.1])]
    assert markdown(sweep, cells).splitlines() == [
        "| aggregator | none | fang target=krum | worst |",
        "|---|---|---|---|",
        f"| cwtm | 0.850 ± {spread[0]:.3f} | 0.300 ± {spread[1]:.3f} | 0.300 ± {spread[1]:.3f} |",
        "| krum | 0.700 ± 0.000 | (1 diverged, 1 pending) | 0.700 ± 0.000 |",
    ]
    keep_results(sweep, cells)
    written = json.loads((sweep.folder / "results.json").read_text())
    assert [record["state"] for record in written] == [cell.state for cell in cells]
    assert (sweep.folder / "results.csv").read_text().count("\n") == 9


def test_what_is_left_is_told_from_what_is_done(sweep: Sweep) -> None:
    leave(sweep, 0, "completed", 0.5, 0.9)
    leave(sweep, 1, "completed", 0.5, 0.9)
    cells = [progress_of(cell, sweep.folder) for cell in sweep.cells]
    assert seconds_left(cells, jobs=3) == 10.0 * 6 / 3
    assert list(status_lines(cells, 75))[-1] == "8 cells: 2 done, 6 pending; about 1:15 left"
    assert seconds_left([Progress(sweep.cells[0], "pending")], jobs=1) is None


@pytest.mark.parametrize(
    ("given", "jobs", "ranks"),
    [
        ({"cells": 100, "gpus": 0, "cores": 2}, 2, 1),
        ({"cells": 1, "gpus": 0, "cores": 64}, 8, 8),  # no more ranks than clients
        ({"cells": 3, "gpus": 8, "cores": 64}, 4, 2),
        ({"cells": 100, "gpus": 8, "cores": 64}, 8, 1),
        ({"cells": 100, "gpus": 0, "cores": 8, "jobs": 2}, 2, 4),
        ({"cells": 100, "gpus": 0, "cores": 8, "ranks": 3}, 2, 3),
        ({"cells": 0, "gpus": 0, "cores": 8}, 8, 1),
    ],
)
def test_a_cell_has_as_few_ranks_as_fill_the_machine(given: dict[str, int], jobs: int, ranks: int) -> None:
    room = room_for(**{"clients": 8, "jobs": None, "ranks": None, **given})
    assert (room.jobs, room.ranks) == (jobs, ranks)


def test_jobs_at_the_same_time_have_gpus_of_their_own() -> None:
    room = room_for(cells=4, clients=2, jobs=None, ranks=None, gpus=8, cores=8)
    assert [room.devices(job) for job in range(room.jobs)] == ["0,1", "2,3", "4,5", "6,7"]
    assert room_for(cells=4, clients=2, jobs=None, ranks=None, gpus=0, cores=8).devices(0) is None
