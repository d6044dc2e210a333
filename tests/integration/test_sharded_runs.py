"""Runs whose server works on some columns on every rank: the bits of whole ones, stopped, moved and failing."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from support.forked_ranks import forked_ranks
from support.launch import TESTS, Finished
from support.runs import nothing_is_left, records

SMALL = [
    "data={name: synthetic, num_train: 160, num_test: 40, num_classes: 4, shape: [1, 16, 16]}",
    "clients.count=6",
    "clients.local_steps=2",
    "clients.batch_size=10",
    "clients.momentum=0.5",
    "checkpoint.every=2",
    "tracking.tensorboard=false",
    "run_name=run",
]
MLP = "model={name: mlp, hidden: [256, 256]}"  # 132 612 parameters are 5 blocks
RUNS = {
    "fedseca": [MLP, "aggregator={name: fedseca, momentum: 0.5}", "attack={name: fang, num_byzantine: 2}"],
    "fldetector": [
        "model={name: small_cnn, width: 48, hidden: 128, batch_norm: true}",
        "server.buffers=in_row",
        "aggregator={name: fldetector, window: 1}",
        "attack={name: mimic, num_byzantine: 1}",
        "server.optimizer={name: adam, lr: 0.01}",
    ],
    "krum": [
        "model={name: small_cnn, width: 48, hidden: 128, batch_norm: true}",
        "aggregator={name: krum}",
        "attack={name: agr_tailored, num_byzantine: 1}",
        "clients.fraction=0.84",
    ],
}
HOSTS = ["--plugin", str(TESTS / "support" / "pretend_hosts.py")]
SHARDED = "server.sharded=true"


def run(folder: Path, ranks: int, *more: str, rounds: int = 3) -> Finished:
    return forked_ranks(ranks, *SMALL, f"rounds={rounds}", f"output_dir={folder}", *more)


def good(folder: Path, ranks: int, *more: str, rounds: int = 3) -> str:
    """What a run says that ends well."""
    done = run(folder, ranks, *more, rounds=rounds)
    assert done.status == 0, done.err
    nothing_is_left(folder)
    return done.err


def checksum(folder: Path, rounds: int = 3) -> str:
    """Of the last checkpoint: model, state of the server and of the attacks."""
    with safe_open(folder / "run" / "checkpoints" / f"round_{rounds:06d}.safetensors", "pt") as file:
        return str(file.metadata()["checksum"])


@pytest.fixture(scope="module", params=RUNS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(name)
    good(folder, 1, *RUNS[name])
    return folder


def assert_the_same(folder: Path, whole: Path) -> None:
    assert checksum(folder) == checksum(whole)
    assert records(folder) == records(whole)


@pytest.mark.parametrize(
    ("ranks", "where"), [(2, []), (3, HOSTS), pytest.param(8, HOSTS, marks=pytest.mark.slow)], ids=["2", "3", "8"]
)
def test_a_run_on_several_ranks_or_hosts_has_the_bits_of_one(
    name: str, whole: Path, tmp_path: Path, ranks: int, where: list[str]
) -> None:
    said = good(tmp_path, ranks, *RUNS[name], SHARDED, *where)
    assert said.count("every rank runs attack and aggregator on its share of the columns") == 1
    assert ("point to point" in said) == bool(where)
    assert_the_same(tmp_path, whole)


def test_a_run_goes_on_elsewhere_sharded_or_not(name: str, whole: Path, tmp_path: Path) -> None:
    good(tmp_path, 3, *RUNS[name], SHARDED, rounds=1)
    said = good(tmp_path, 2, *RUNS[name], SHARDED, *HOSTS, "--resume", rounds=2)
    assert "resumed after round 1" in said
    said = good(tmp_path, 1, *RUNS[name], "--resume", rounds=3)
    assert "resumed after round 2" in said
    assert_the_same(tmp_path, whole)
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        checkpoint.unlink()
    assert "were deleted" in good(tmp_path, 2, *RUNS[name], SHARDED, "--resume")  # rank 1 waits for no checkpoint


def test_a_method_that_needs_whole_rows_runs_on_rank_0_with_one_notice(tmp_path: Path) -> None:
    plugin = tmp_path / "plain.py"
    plugin.write_text(
        "from fedsim.aggregators import Aggregator\n"
        "from fedsim.aggregators.base import aggregators\n"
        "@aggregators.register('plain')\n"
        "class Plain(Aggregator):\n"
        "    def aggregate(self, updates, context):\n"
        "        return updates.tensor().mean(0)\n"
    )
    said = good(
        tmp_path,
        2,
        MLP,
        "attack={name: ipm, num_byzantine: 1}",
        "--plugin",
        str(plugin),
        "aggregator={name: plain}",
        SHARDED,
        rounds=1,
    )
    assert said.count("server.sharded: the server works whole on rank 0, for the aggregator plain does not") == 1


NAN = [MLP, SHARDED, "aggregator={name: cwmed}", "attack={name: nonfinite, num_byzantine: 2}"]


def test_clients_that_send_nan_are_named_once(tmp_path: Path) -> None:
    said = good(tmp_path, 3, *NAN)
    assert said.count("sent NaN") == 1
    assert [record["nonfinite_clients"] for record in records(tmp_path)] == [[4, 5]] * 3


def test_where_nan_is_an_error_it_is_reported_once_although_all_ranks_raise_it(tmp_path: Path) -> None:
    done = run(tmp_path, 3, *NAN, "runtime.nonfinite=error")
    assert done.status == 1
    assert done.err.count("clients [4, 5] sent NaN or infinity; runtime.nonfinite is 'error'") == 1
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"
    nothing_is_left(tmp_path)


@pytest.mark.parametrize(("place", "kind"), [("aggregate", "SIGKILL"), ("attack", "throw")])
def test_a_rank_that_fails_while_others_wait_for_its_columns_is_named(tmp_path: Path, place: str, kind: str) -> None:
    fault = {"FAULT": f"{place}:1:{kind}:2"}
    faults = ["--plugin", str(TESTS / "support" / "faults.py"), "runtime.timeout=20"]
    done = forked_ranks(
        3, *SMALL, *RUNS["fedseca"], SHARDED, f"output_dir={tmp_path}", *faults, variables=fault, seconds=60
    )
    assert done.status
    said = [line for line in done.err.splitlines() if "rank 1 (host" in line]
    assert len(said) == 1, done.err
    assert f"phase '{place}'" in said[0]
    nothing_is_left(tmp_path)
