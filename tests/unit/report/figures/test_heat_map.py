"""A table as colours."""

import numpy as np

from fedsim.report.figures.heat_map import heat_map_figure
from fedsim.report.tables import WORST, Field, Table


def test_a_divergence_is_grey_and_not_the_mean_of_the_other_seeds() -> None:
    fields = {
        ("a", "x"): Field({"0": 0.9}, {"diverged": 2}),
        ("a", "y"): Field({"0": 0.5}, {"failed": 1}),
        ("a", WORST): Field({}, {"diverged": 1}, attack="x"),
    }
    figure = heat_map_figure(Table({}, ["a"], ["x", "y", WORST], fields), "", share=True, lower_is_better=False)
    panel = figure.axes[0]
    shown = panel.images[0].get_array()
    assert np.ma.getmaskarray(shown).tolist() == [[True, False, True]]
    assert [text.get_text() for text in panel.texts] == ["2 diverged", "0.500*", "diverged"]
