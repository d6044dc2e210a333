"""What stands below an axis of numbers: the field's word for a key, and the share of Byzantine clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedsim.report.figures.axis_curves import Numbers, spread_wide
from fedsim.report.study import Entry

BYZANTINE = "attack.num_byzantine"

NAMES = {
    BYZANTINE: "Byzantine clients",
    "clients.count": "clients",
    "clients.fraction": "share of the clients in a round",
    "clients.optimizer.lr": "learning rate",
    "data.imbalance": "samples of the first class to one of the last",
    "data.partition.alpha": "\N{GREEK SMALL LETTER ALPHA} of the partition",
}


def numbers_on(axis: str, values: Mapping[str, float], entries: Sequence[Entry]) -> Numbers:
    """The axis for these runs: of Byzantine clients among equally many, their share is written below the number."""
    name = NAMES.get(axis, axis)
    counts = {entry.run.settings["clients"]["count"] for entry in entries if entry.run is not None}
    if axis != BYZANTINE:
        return Numbers(values, name, {}, spread_wide(list(values.values())))
    if len(counts) != 1:
        return Numbers(values, name, {}, False)
    (count,) = counts
    ticks = {label: f"{label}\n{100 * value / count:.0f} %" for label, value in values.items()}
    return Numbers(values, f"{name} of {count}", ticks, False)
