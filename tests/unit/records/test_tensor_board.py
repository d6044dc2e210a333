"""TensorBoard events are read back as TensorBoard reads them."""

import json
import re
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard import context
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from fedsim.records.board_layout import SINGLE
from fedsim.records.pictures import partition_picture
from fedsim.records.round_record import AttackRecord, Quality, RoundRecord
from fedsim.records.tensor_board import TensorBoard, TensorBoardSettings, followed_clients
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
        "classes": False,
        "images_every": 2,
        "rounds": 5,
        "texts": {"config": "seed: 0"},
        "hparams": {"attack": "alie", "seed": 0},
    }
    return TensorBoardSettings(**{**facts, **changes})


def write_run(folder: Path, rounds: range, status: str = "completed", **changes: Any) -> None:
    """Rounds of a run, as the program writes them; a range that starts later is a resumed run."""
    folder.mkdir(parents=True, exist_ok=True)
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


def charts_of(folder: Path) -> dict[str, dict[str, list[str]]]:
    """The layout that is stored, as TensorBoard reads it: expressions by chart and category."""
    stored = events(folder).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(stored[0].tensor_proto.string_val[0])
    return {
        category.title: {chart.title: list(chart.multiline.tag) for chart in category.chart}
        for category in layout.category
    }


def matched(folder: Path, expressions: list[str]) -> set[str]:
    """The tags in a chart, by TensorBoard's rule."""
    return {tag for tag in events(folder).Tags()["scalars"] if any(re.match(its, tag) for its in expressions)}


def steps(folder: Path, tag: str) -> list[int]:
    return [event.step for event in events(folder).Scalars(tag)]


def test_a_run_is_one_run_in_which_each_side_is_a_curve(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 6))
    run = events(tmp_path)
    assert [event.value for event in run.Scalars("clients/trust/honest")] == pytest.approx([0.125] * 5)
    assert [event.value for event in run.Scalars("clients/trust/byzantine")] == pytest.approx([0.625] * 5)
    scalars = run.Tags()["scalars"]
    assert {tag for tag in scalars if tag.startswith(SINGLE)} == {
        f"{SINGLE}/{name}/{client}"
        for name in ("trust", "update_norm")
        for client in ("honest_0", "honest_1", "byzantine_2", "byzantine_3")
    }
    assert not [tag for tag in scalars if tag.startswith("clients/update_norm")]  # nothing finite to average
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_classes_and_single_clients_have_curves_only_if_asked(tmp_path: Path) -> None:
    write_run(tmp_path / "plain", range(1, 3), curves=0)
    assert not [tag for tag in events(tmp_path / "plain").Tags()["scalars"] if tag.startswith(("recall", SINGLE))]
    write_run(tmp_path / "asked", range(1, 3), curves=0, classes=True)
    recall = [event.value for event in events(tmp_path / "asked").Scalars("recall/cat")]
    assert recall == pytest.approx([0.75, 0.75])
    assert "recall of each class" in charts_of(tmp_path / "asked")["quality"]
    assert "recall of each class" not in charts_of(tmp_path / "plain")["quality"]


def test_the_run_itself_logs_accuracy_server_attack_times_and_the_end(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 6))
    run = events(tmp_path)
    for tag in ("accuracy/accuracy", "server/detection_auc", "attack/alie/z", "times/gather"):
        assert steps(tmp_path, tag) == [1, 2, 3, 4, 5]
    assert "server/aggregation_error" not in run.Tags()["scalars"]
    assert [event.value for event in run.Scalars("accuracy/best_accuracy")] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4, 0.5]
    )
    assert "seed: 0" in run.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()


def test_a_resumed_run_has_no_round_twice_and_remembers_the_clients(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 5), status="interrupted")
    time.sleep(1.1)  # TensorBoard orders event files by the second in their name
    write_run(tmp_path, range(3, 6))
    assert steps(tmp_path, "accuracy/accuracy") == [1, 2, 3, 4, 5]
    assert steps(tmp_path, "clients/trust/honest") == [1, 2, 3, 4, 5]
    assert steps(tmp_path, "accuracy/best_accuracy") == [1, 2, 3, 4, 5]
    whole = tmp_path / "whole"
    write_run(whole, range(1, 6))
    for picture in ("trust", "honest_against_byzantine/trust"):
        resumed, uninterrupted = (events(folder).Images(picture)[-1] for folder in (tmp_path, whole))
        assert resumed.encoded_image_string == uninterrupted.encoded_image_string


def test_pictures_come_every_so_many_rounds_and_last(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 6))
    run = events(tmp_path)
    assert [image.step for image in run.Images("confusion")] == [2, 4, 5]
    assert [image.step for image in run.Images("trust")] == [2, 4, 5]
    assert [image.step for image in run.Images("honest_against_byzantine/trust")] == [2, 4, 5]
    assert [image.step for image in run.Images("partition")] == [0]
    write_run(tmp_path / "none", range(1, 6), images_every=0)
    assert events(tmp_path / "none").Tags()["images"] == []


def test_the_layout_has_a_chart_for_each_question_of_several_curves(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 3))
    charts = charts_of(tmp_path)
    assert list(charts) == ["quality", "honest against Byzantine clients"]
    sides = charts["honest against Byzantine clients"]
    assert matched(tmp_path, sides["trust"]) == {"clients/trust/honest", "clients/trust/byzantine"}
    assert len(matched(tmp_path, sides["trust of single clients"])) == 4
    assert matched(tmp_path, charts["quality"]["loss: test and training"]) == {"accuracy/loss", "accuracy/train_loss"}


def test_layouts_of_runs_with_unlike_settings_are_joined_without_loss_or_repetition(tmp_path: Path) -> None:
    """By TensorBoard's own plugin, which loses charts of a category that the first layout lacks."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin

    write_run(tmp_path / "a", range(1, 3), curves=0)
    write_run(tmp_path / "b", range(1, 3), curves=2, metrics=["brier"])
    write_run(tmp_path / "c", range(1, 3), curves=4, metrics=["brier", "top_k"], classes=True)
    runs = EventMultiplexer({name: str(tmp_path / name) for name in "abc"}).Reload()
    provider = MultiplexerDataProvider(runs, str(tmp_path))
    plugin = CustomScalarsPlugin(TBContext(data_provider=provider, logdir=str(tmp_path)))
    joined = json.loads(plugin.layout_impl(context.RequestContext(), ""))
    titles = [chart["title"] for category in joined["category"] for chart in category["chart"]]
    each = [title for run in "abc" for its in charts_of(tmp_path / run).values() for title in its]
    assert sorted(titles) == sorted(set(each))
    assert {"brier", "top_k", "recall of each class", "trust of single clients"} <= set(titles)


def test_the_layout_has_charts_for_what_only_later_rounds_have(tmp_path: Path) -> None:
    """A first round that was neither evaluated nor diagnosed, then one with gaps filled."""
    board = TensorBoard(tmp_path, tmp_path / "metrics.jsonl", 0, settings_of_run())
    full = a_record(2)
    cosines = dict.fromkeys(range(4), 0.5)
    board.write(replace(a_record(1), quality=Quality(), server={"aggregation_error": None}))
    board.write(
        replace(full, clients={**full.clients, "cosine_to_honest": cosines}, server={"aggregation_error": 1.0})
    )
    board.close("completed")
    assert {"cosine_to_honest", "trust"} <= set(charts_of(tmp_path)["honest against Byzantine clients"])
    assert steps(tmp_path, "server/aggregation_error") == [2]
    assert steps(tmp_path, "clients/cosine_to_honest/honest") == [2]
    assert steps(tmp_path, "clients/trust/honest") == [1, 2]


def test_each_further_metric_has_a_chart_of_all_its_values(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, tmp_path / "metrics.jsonl", 0, settings_of_run(metrics=["brier", "cosine"]))
    board.write(a_record(1))  # without evaluation
    board.write(replace(a_record(2), metrics={"brier": 0.5, "cosine.honest": 1.0, "cosine.between": None}))
    board.close("completed")
    assert steps(tmp_path, "metrics/brier") == steps(tmp_path, "metrics/cosine.honest") == [2]
    charts = charts_of(tmp_path)["quality"]
    assert {"brier", "cosine"} <= set(charts)
    assert re.match(charts["cosine"][0], "metrics/cosine.honest")
    assert not re.match(charts["cosine"][0], "metrics/cosine_2.honest")


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
    assert "_hparams_/experiment" not in data  # TensorBoard would take its columns for those of all runs


def test_hundreds_of_clients_are_thinned_in_curves_not_in_the_means(tmp_path: Path) -> None:
    write_run(tmp_path, range(1, 3), num_clients=300, byzantine=range(240, 300), curves=10)
    run = events(tmp_path)
    assert len([tag for tag in run.Tags()["scalars"] if tag.startswith(f"{SINGLE}/trust")]) == 10
    assert run.Scalars("clients/trust/byzantine")[0].value == pytest.approx(269.5 / 300)
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
