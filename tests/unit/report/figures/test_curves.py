"""A metric over the rounds."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fedsim.report.figures.curves import curves_figure
from fedsim.report.scores import curves
from fedsim.report.study import read_study
from support.recorded_runs import recorded_run


def drawn(folder: Path, metric: str = "accuracy") -> np.ndarray:
    """The mean curve of the runs in a folder."""
    study = read_study([folder])
    figure = curves_figure(study.entries, ["fedavg"], lambda entry: curves(entry, metric), metric, share=True)
    assert figure is not None
    (line,) = figure.axes[0].lines
    return np.asarray(line.get_xydata())


def runs(folder: Path, *accuracies: list[float | None], last: str | None = "completed") -> Path:
    """One per seed; the last one may have another status than completed."""
    for seed, values in enumerate(accuracies):
        status = last if seed == len(accuracies) - 1 else "completed"
        recorded_run(folder / str(seed), values, [f"seed={seed}", "aggregator.name=fedavg"], status=status)
    return folder


def test_means_and_bands_are_students_over_the_seeds(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((4, 3))
    study = read_study([runs(tmp_path, *values.tolist())])
    figure = curves_figure(study.entries, ["fedavg"], lambda entry: curves(entry, "accuracy"), "accuracy", share=True)
    assert figure is not None
    (panel,) = figure.axes
    assert np.asarray(panel.lines[0].get_ydata()) == pytest.approx(values.mean(axis=0))
    low, high = stats.t.interval(0.95, 3, values.mean(axis=0), stats.sem(values))
    corners = np.asarray(panel.collections[0].get_paths()[0].vertices)
    for round_number, bottom, top in zip((1, 2, 3), low, high, strict=True):
        heights = corners[corners[:, 0] == round_number][:, 1]
        assert (heights.min(), heights.max()) == pytest.approx((bottom, top))


def test_the_mean_ends_where_a_run_diverges(tmp_path: Path) -> None:
    """It would jump up to the mean of the others."""
    mean = drawn(runs(tmp_path, [0.6, 0.8, 0.9], [0.4, 0.2], last="diverged"))
    assert mean.tolist() == [[1, 0.5], [2, 0.5]]


def test_a_run_that_is_still_running_does_not_cut_the_others(tmp_path: Path) -> None:
    assert drawn(runs(tmp_path, [0.6, 0.8, 0.9], [0.4], last=None))[:, 1].tolist() == [0.6, 0.8, 0.9]


def test_a_value_that_is_missing_at_the_end_does_not_cut_the_others(tmp_path: Path) -> None:
    assert drawn(runs(tmp_path, [0.6, 0.8, 0.9], [0.4, 0.2, None]))[:, 1].tolist() == [0.5, 0.5, 0.9]


def test_a_run_alone_is_drawn_as_far_as_it_is(tmp_path: Path) -> None:
    assert drawn(runs(tmp_path, [0.6, 0.8], last=None))[:, 1].tolist() == [0.6, 0.8]


@pytest.mark.parametrize(("metric", "scale"), [("loss", "log"), ("accuracy", "linear")])
def test_one_huge_error_does_not_hide_the_others(tmp_path: Path, metric: str, scale: str) -> None:
    study = read_study([runs(tmp_path, [0.5, 0.6, -1e5, 0.6, 0.7])])  # a loss of 1e5
    figure = curves_figure(
        study.entries, ["fedavg"], lambda entry: curves(entry, metric), metric, share=metric == "accuracy"
    )
    assert figure is not None
    assert figure.axes[0].get_yscale() == scale
