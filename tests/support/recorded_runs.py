"""Run directories as runs leave them, written by hand: for what is read afterwards."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedsim.build.components import build_components
from fedsim.config.run import parse_config
from fedsim.config.source import apply_overrides
from fedsim.records.round_record import AttackRecord, Quality, RoundRecord
from fedsim.yaml_text import yaml_text


def recorded_run(
    directory: Path,
    accuracies: Sequence[float | None],
    words: Sequence[str] = (),
    status: str | None = "completed",
    reason: str | None = None,
    validation: Sequence[float] = (),
) -> Path:
    """A run with one round per accuracy.

    Args:
        words: ``dotted.key=value``.
        status: in its summary; None: it has none.
        validation: accuracies on validation samples, one for each round.
    """
    config = build_components(parse_config(apply_overrides({}, words)[0])).resolved()
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(yaml_text(config))
    records = [
        RoundRecord(
            round=number,
            quality=Quality(accuracy=accuracy, loss=None if accuracy is None else 1 - accuracy),
            validation={"accuracy": validation[number - 1]} if validation else {},
            train_loss=1.0,
            server={"detection_auc": 0.5},
            clients={"concordance_ratio": {0: 0.5, 1: 0.1}},
            attack=AttackRecord(share=0.5, attackers={1: "alie"}),
            times={"local_work": 0.2, "aggregate": 0.1},
        )
        for number, accuracy in enumerate(accuracies, 1)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(one.to_dict()) + "\n" for one in records))
    (directory / "environment.json").write_text(
        json.dumps({"versions": {"fedsim": "0", "torch": "0"}, "plugins": {}})
    )
    if status is not None:
        summary = {"status": status, "rounds": len(records), "reason": reason, "seconds": 3.0}
        (directory / "summary.json").write_text(json.dumps(summary))
    return directory


def recorded_sweep(folder: Path, cells: Sequence[Mapping[str, Any]]) -> Path:
    """A sweep: of each cell its labels, and under ``directory`` its run, which may not be there."""
    folder.mkdir(parents=True, exist_ok=True)
    defaults = {"state": "done", "accuracy": None, "rounds": 1, "seconds": 1.0, "reason": None, "config_hash": "0"}
    (folder / "results.json").write_text(json.dumps([{**cell, **defaults, **cell} for cell in cells]))
    return folder
