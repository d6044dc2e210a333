"""A score against a number: what is drawn is computed again from the scores."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from scipy import stats

from fedsim.report.exhibits import Exhibit, exhibits
from fedsim.report.figures.axis_curves import axis_figure, numbers_of
from fedsim.report.figures.axis_names import numbers_on
from fedsim.report.scores import Score
from fedsim.report.study import read_study
from support.recorded_runs import recorded_run, recorded_sweep

LABELS = ("0", "5", "12")


def scores_of(axis: str) -> pd.DataFrame:
    """Two attacks, two rules, three seeds; the second rule diverges once under the second attack."""
    draw = np.random.default_rng(0)
    rows = [
        {axis: label, "attack": attack, "aggregator": rule, "seed": seed, "state": "done", "score": draw.random()}
        for label in LABELS
        for attack in ("alie", "fang")
        for rule in ("cwtm", "rfa")
        for seed in "012"
    ]
    table = pd.DataFrame(rows)
    table.loc[table.query(f"`{axis}` == '5' and attack == 'fang' and aggregator == 'rfa'").index[1], "state"] = (
        "diverged"
    )
    table.loc[table["state"] == "diverged", "score"] = np.nan
    return table


def bars(panel: Axes) -> list[ErrorbarContainer]:
    """What is drawn for each rule."""
    return [drawn for drawn in panel.containers if isinstance(drawn, ErrorbarContainer)]


def means_of(drawn: ErrorbarContainer) -> Any:
    return np.asarray(drawn.lines[0].get_ydata(), dtype=float)


def test_there_is_a_panel_per_attack_with_means_and_intervals_over_the_seeds() -> None:
    scores = scores_of("sparsity")
    numbers = numbers_on("sparsity", numbers_of(LABELS) or {}, [])
    figure = axis_figure(scores, "sparsity", numbers, ["cwtm", "rfa"], "accuracy", share=True, lower=False)
    assert figure is not None
    assert [panel.get_title() for panel in figure.axes] == ["alie", "fang"]
    for panel in figure.axes:
        for rule, drawn in zip(("cwtm", "rfa"), bars(panel), strict=True):
            means = means_of(drawn)
            for place, label in enumerate(LABELS):
                of_panel = scores[(scores["attack"] == panel.get_title()) & (scores["sparsity"] == label)]
                runs = of_panel[of_panel["aggregator"] == rule]
                if (runs["state"] == "diverged").any():
                    assert np.isnan(means[place])
                    continue
                assert means[place] == pytest.approx(runs["score"].mean())
                low, high = stats.t.interval(0.95, 2, runs["score"].mean(), stats.sem(runs["score"]))
                bar = drawn.lines[2][0].get_segments()[place]
                assert (bar[0][1], bar[1][1]) == pytest.approx((low, high))


def test_a_divergence_is_a_cross_and_not_the_mean_of_the_others() -> None:
    scores = scores_of("sparsity")
    numbers = numbers_on("sparsity", numbers_of(LABELS) or {}, [])
    figure = axis_figure(scores, "sparsity", numbers, ["cwtm", "rfa"], "accuracy", share=True, lower=False)
    assert figure is not None
    crosses = [
        [np.size(line.get_xdata()) for line in panel.lines if line.get_marker() == "x"] for panel in figure.axes
    ]
    assert crosses == [[0, 0], [0, 1]]


def sweep(folder: Path) -> list[Exhibit]:
    """The number of Byzantine clients and a data set as axes; one seed."""
    cells = []
    for data in ("one", "two"):
        for place, count in enumerate(LABELS):
            run = recorded_run(folder / f"{data}{count}", [0.5 + 0.1 * place], ["clients.count=25"])
            cells.append({"data": data, "attack.num_byzantine": count, "aggregator": "cwtm", "directory": str(run)})
    study = read_study([recorded_sweep(folder, cells)])
    return [one for one in exhibits(study, Score()) if one.name.startswith("against")]


def test_other_axes_are_not_averaged_over_and_shares_are_said(tmp_path: Path) -> None:
    found = sweep(tmp_path)
    assert [one.name for one in found] == [f"against-attack.num_byzantine-data-{data}" for data in ("one", "two")]
    for one in found:
        assert one.figure is not None
        (panel,) = one.figure.axes
        assert panel.get_xlabel() == "Byzantine clients of 25"
        assert [tick.get_text() for tick in panel.get_xticklabels()] == ["0\n0 %", "5\n20 %", "12\n48 %"]
        assert means_of(bars(panel)[0]).tolist() == pytest.approx([0.5, 0.6, 0.7])


def test_words_are_no_numbers() -> None:
    assert numbers_of(["1", "all"]) is None
    assert numbers_of(["1", "inf"]) is None
    assert numbers_of(["1", "1.0"]) is None
