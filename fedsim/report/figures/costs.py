"""What a round costs: the time of its phases for each aggregator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedsim.report.figures.style import COLOURS
from fedsim.report.study import ROWS, Entry

PHASES = ("local_work", "gather", "attack", "aggregate", "diagnose", "broadcast", "evaluate")

SERVER_PHASES = PHASES[1:-1]

COLOUR_OF = dict(zip(PHASES, COLOURS, strict=False))


def cost_table(entries: Sequence[Entry], methods: Sequence[str]) -> pd.DataFrame:
    """Milliseconds of a round by method (row) and phase (column): medians over rounds, means over runs."""
    rows = {}
    for method in methods:
        runs = [
            entry.run.metrics for entry in entries if entry.run is not None and entry.labels.get(ROWS, "") == method
        ]
        medians = [
            {phase: metrics[f"times.{phase}"].median() for phase in PHASES if f"times.{phase}" in metrics}
            for metrics in runs
            if len(metrics)
        ]
        if medians:
            rows[method] = pd.DataFrame(medians).mean() * 1000
    return pd.DataFrame(rows, index=list(PHASES)).T.fillna(0.0)


def cost_figure(costs: pd.DataFrame) -> Figure | None:
    """Stacked bars, of all phases and of the server's alone, which the others dwarf; None without any time."""
    if costs.empty:
        return None
    longest = max(map(len, costs.index))
    figure = Figure(figsize=(7.0 + 0.06 * longest, 0.24 * len(costs) + 1.2))
    whole, of_server = figure.subplots(1, 2, sharey=True)
    for panel, phases, title in ((whole, PHASES, "all of a round"), (of_server, SERVER_PHASES, "the server's part")):
        left = np.zeros(len(costs))
        for phase in phases:
            values = costs[phase].to_numpy(dtype=float)
            label = phase.replace("_", " ") if panel is whole else ""
            panel.barh(costs.index, values, left=left, color=COLOUR_OF[phase], label=label, height=0.7)
            left += values
        panel.set_title(title)
        panel.set_xlabel("milliseconds")
    whole.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=len(PHASES))
    return figure
