"""TensorBoard events are read back as TensorBoard reads them."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from fedsim.records.pictures import partition_picture
from fedsim.records.round_record import AttackRecord, Quality, RoundRecord
from fedsim.records.tensor_board import SINGLE, TensorBoard, TensorBoardSettings, followed_clients
from fedsim.records.writers import JsonLines


def a_record(round_number: int, clients: int = 4, byzantine: Iterable[int] = (2, 3)) -> RoundRecord:
    trust = {client: client / clients for client in range(clients)}
    return RoundRecord(
        round=round_number,
        quality=Quality(
            accuracy=round_number / 10,
            balanced_accuracy=round_number / 10,
            loss=2.0,
            per_class_recall=[0.75, 1.0],
            confusion=[[3, 1], [0, 4]],
        ),
        train_loss=float("nan"),
        server={"detection_auc": 1.0, "aggregation_error": None},
        clients={"trust": trust, "update_norm": {client: float("inf") for client in range(clients)}},
        attack=AttackRecord(attackers=dict.fromkeys(byzantine, "alie"), parameters={"alie": {"z": 0.5}}),
        times={"gather": 0.1},
    )


def settings_of_run(**changes: Any) -> TensorBoardSettings:
    facts: dict[str, Any] = {
        "byzantine": [2, 3],
        "num_clients": 4,
        "partition": partition_picture([[1, 2]] * 4, ["cat", "dog"]),
        "class_names": ["cat", "dog"],
        "curves": 16,
        "images_every": 2,
        "rounds": 5,
        "texts": {"config": "seed: 0"},
        "hparams": {"attack": "alie", "seed": 0},
    }
    return TensorBoardSettings(**{**facts, **changes})


def write_run(folder: Path, rounds: range, status: str = "completed", **changes: Any) -> None:
    """Rounds of a run, as the program writes them; a range that starts later is a resumed run."""
    folder.mkdir(exist_ok=True)
    metrics, done = folder / "metrics.jsonl", rounds.start - 1
    lines = JsonLines(metrics, done)
    board = TensorBoard(folder, metrics, done, settings_of_run(**changes))
    clients = changes.get("num_clients", 4)
    byzantine = changes.get("byzantine", (2, 3))
    for round_number in rounds:
        lines.write(a_record(round_number, clients, byzantine))
        board.write(a_record(round_number, clients, byzantine))
    lines.close(status)
    board.close(status)


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def steps(folder: Path, tag: str) -> list[int]:
    return [event.step for event in events(folder).Scalars(tag)]


def test_each_side_is_a_run_of_its_own(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 6))
    honest, byzantine = events(tmp_path / "honest"), events(tmp_path / "byzantine")
    assert [event.value for event in honest.Scalars("clients/trust")] == pytest.approx([0.125] * 5)
    assert [event.value for event in byzantine.Scalars("clients/trust")] == pytest.approx([0.625] * 5)
    singles = [tag for tag in honest.Tags()["scalars"] if tag.startswith(SINGLE)]
    assert set(singles) == {
        f"{SINGLE}/{name}/client_{client}" for name in ("trust", "update_norm") for client in (0, 1)
    }
    assert "clients/update_norm" not in honest.Tags()["scalars"]  # nothing finite to average


def test_the_run_itself_logs_accuracy_server_attack_times_and_the_end(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 6))
    run = events(tmp_path)
    for tag in ("accuracy/accuracy", "server/detection_auc", "attack/alie/z", "times/gather"):
        assert steps(tmp_path, tag) == [1, 2, 3, 4, 5]
    assert "server/aggregation_error" not in run.Tags()["scalars"]
    assert run.Scalars("final/accuracy")[0].value == pytest.approx(0.5)
    assert "seed: 0" in run.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()


def test_a_resumed_run_has_no_round_twice_and_remembers_trust(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 5), status="interrupted")
    time.sleep(1.1)  # TensorBoard orders event files by the second in their name
    write_run(tmp_path, range(3, 6))
    assert steps(tmp_path, "accuracy/accuracy") == [1, 2, 3, 4, 5]
    assert steps(tmp_path / "honest", "clients/trust") == [1, 2, 3, 4, 5]
    whole = tmp_path / "whole"
    write_run(whole, range(1, 6))
    assert (
        events(tmp_path).Images("clients/trust")[-1].encoded_image_string
        == events(whole).Images("clients/trust")[-1].encoded_image_string
    )


def test_pictures_come_every_so_many_rounds_and_last(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 6))
    run = events(tmp_path)
    assert [image.step for image in run.Images("accuracy/confusion")] == [2, 4, 5]
    assert [image.step for image in run.Images("clients/trust")] == [2, 4, 5]
    assert [image.step for image in run.Images("data/partition")] == [0]
    write_run(tmp_path / "none", range(1, 6), images_every=0)
    assert events(tmp_path / "none").Tags()["images"] == []


def test_the_layout_names_every_group_once(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 3))
    stored = events(tmp_path).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(stored[0].tensor_proto.string_val[0])
    titles = [category.title for category in layout.category]
    assert titles == ["accuracy", "server", "clients, honest against Byzantine", "attack", "times"]
    charts = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    assert charts["trust"] == ["clients/trust$", f"^{SINGLE}/trust/client_"]


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_hparams_hold_the_settings_and_whether_the_run_completed(tmp_path: Path, status: str) -> None:
    write_run(tmp_path, range(1, 3), status=status)
    contents = events(tmp_path).summary_metadata
    data = {
        tag: plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
        for tag, metadata in contents.items()
        if metadata.plugin_data.plugin_name == "hparams"
    }
    start = data["_hparams_/session_start_info"].session_start_info
    assert start.hparams["attack"].string_value == "alie"
    assert ("_hparams_/session_end_info" in data) == (status == "completed")


def test_hundreds_of_clients_are_thinned_in_curves_not_in_the_means(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 3), num_clients=300, byzantine=range(240, 300), curves=10)
    curves = [
        tag
        for side in ("honest", "byzantine")
        for tag in events(tmp_path / side).Tags()["scalars"]
        if tag.startswith(f"{SINGLE}/trust")
    ]
    assert len(curves) == 10
    assert events(tmp_path / "byzantine").Scalars("clients/trust")[0].value == pytest.approx(269.5 / 300)
    assert len(json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["clients"]["trust"]) == 300


@pytest.mark.parametrize("clients", [1, 2, 5, 100])
@pytest.mark.parametrize("byzantine", [0, 1, 40])
@pytest.mark.parametrize("curves", [0, 1, 2, 7, 200])
def test_followed_clients_are_as_many_as_asked_from_both_sides(clients: int, byzantine: int, curves: int) -> None:
    hostile = set(range(min(byzantine, clients)))
    followed = followed_clients(clients, hostile, curves)
    assert len(followed) == min(curves, clients)
    assert followed <= set(range(clients))
    if curves >= 2 and hostile and len(hostile) < clients:
        assert followed & hostile
        assert followed - hostile
