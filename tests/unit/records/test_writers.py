"""Metrics on disk."""

import json
from pathlib import Path

from fedsim.records.round_record import RoundRecord
from fedsim.records.writers import JsonLines


def test_metrics_are_cut_to_the_checkpoint_and_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"round": 1}\n{"round": 2}\n{"round": 3}\n{"rou')
    writer = JsonLines(path, after_round=2)
    writer.write(RoundRecord(round=3, train_loss=float("nan"), clients={"trust": {4: float("inf"), 5: 1.0}}))
    writer.close("completed")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[:2] == [{"round": 1}, {"round": 2}]
    assert len(lines) == 3
    assert lines[2]["train_loss"] is None
    assert lines[2]["clients"] == {"trust": {"4": None, "5": 1.0}}
