"""Heat maps by their pixels."""

import numpy as np

from fedsim.records.heat_map import heat_map


def test_heat_map_shades_by_value_and_leaves_the_unknown_grey() -> None:
    picture = heat_map(np.array([[0.0, 1.0], [np.nan, 0.5]]), title="", rows=["a", "b"], columns=["x", "y"])
    colours = {tuple(colour) for colour in picture.reshape(-1, 3)}
    assert {(247, 251, 255), (8, 48, 107), (225, 225, 225), (127, 149, 181)} <= colours


def test_heat_map_reddens_marked_rows_and_fits_a_thousand_rows() -> None:
    plain = heat_map(np.eye(3), title="t", rows=["a", "b", "c"], columns=["1", "2", "3"])
    marked = heat_map(np.eye(3), title="t", rows=["a", "b", "c"], columns=["1", "2", "3"], marked=[1])
    assert np.argwhere((plain != marked).any(axis=2)).size > 0
    tall = heat_map(np.zeros((1000, 1)), title="t", rows=[str(row) for row in range(1000)], columns=["1"])
    assert tall.shape[0] < 1200
