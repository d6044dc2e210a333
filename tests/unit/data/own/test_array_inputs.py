"""The form in which inputs are kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fedsim.data.own.array_inputs as module
from fedsim.data.own.array_inputs import NamedArray, plan_inputs, write_inputs
from fedsim.errors import ConfigError
from support.own_data import bytes_of


def kept(folder: Path, *arrays: NDArray[Any], kind: Any = "auto", layout: Any = "auto") -> NDArray[Any]:
    """What is written of arrays, one after another."""
    named = [NamedArray(array, f"x{number}") for number, array in enumerate(arrays)]
    write_inputs(folder / "kept.npy", named, plan_inputs(named, kind, layout, None))
    return np.load(folder / "kept.npy")


GREY, LAST = bytes_of(5, 8, 9), bytes_of(5, 8, 9, 3)
FIRST = LAST.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("array", "images"),
    [
        (GREY, GREY[:, None]),
        (LAST, FIRST),
        (FIRST, FIRST),
        (LAST[..., :1], FIRST[:, :1]),
        (GREY.astype(np.float64), GREY[:, None]),
        (LAST.astype(np.int64), FIRST),
        ((LAST / 255).astype(np.float32), FIRST),
        ((GREY / 255).astype(np.float64), GREY[:, None]),
        (np.round(GREY / 255), 255 * np.round(GREY / 255)[:, None]),
    ],
)
@pytest.mark.parametrize("at_once", [1, 2**24])
def test_images_become_bytes_with_channels_first(
    array: NDArray[Any], images: NDArray[Any], at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)  # a row at a time, or all
    found = kept(tmp_path, array)
    assert found.dtype == np.uint8
    assert np.array_equal(found, images)


@pytest.mark.parametrize(
    ("array", "kind", "layout", "shape"),
    [
        (bytes_of(4, 3, 8, 3), "auto", "hwc", (4, 3, 3, 8)),
        (bytes_of(4, 3, 8, 3), "auto", "chw", (4, 3, 8, 3)),
        (bytes_of(4, 8, 8, 13), "auto", "hwc", (4, 13, 8, 8)),
        (np.random.default_rng(0).normal(size=(4, 8, 9, 3)), "auto", "auto", (4, 3, 8, 9)),
        (np.random.default_rng(0).normal(size=(4, 8, 9)), "auto", "auto", (4, 8, 9)),
        (np.random.default_rng(0).normal(size=(4, 8, 9)), "images", "auto", (4, 1, 8, 9)),
        (np.zeros(4), "auto", "auto", (4, 1)),
        (bytes_of(4, 7), "auto", "auto", (4, 7)),
        (np.arange(8).reshape(4, 2), "numbers", "auto", (4, 2)),
        (np.array([[True, False]]), "auto", "auto", (1, 2)),
    ],
)
def test_kind_and_layout_may_be_set(
    array: NDArray[Any], kind: str, layout: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    found = kept(tmp_path, array, kind=kind, layout=layout)
    assert found.shape == shape
    assert found.dtype == (np.uint8 if array.dtype == np.uint8 and array.ndim > 2 else np.float32)
    assert found.sum(dtype=np.float64) == pytest.approx(array.sum(dtype=np.float64), rel=1e-4)


def test_whole_numbers_are_token_ids(tmp_path: Path) -> None:
    first, second = np.array([[0, 5], [2, 1]], dtype=np.int32), np.array([[7, 0]], dtype=np.int32)
    arrays = [NamedArray(first, "a"), NamedArray(second, "b")]
    plan = plan_inputs(arrays, "auto", "auto", None)
    assert plan.vocabulary == 8
    assert "data.kind=numbers" in plan.note
    assert plan_inputs(arrays, "tokens", "auto", 20).vocabulary == 20
    assert not plan_inputs(arrays, "tokens", "auto", 20).note
    found = kept(tmp_path, first, second)
    assert found.dtype == np.int64
    assert found.tolist() == [[0, 5], [2, 1], [7, 0]]
    with pytest.raises(ConfigError, match="7, but there is a token id 7") as caught:
        plan_inputs(arrays, "tokens", "auto", 7)
    assert caught.value.key == "vocabulary"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("at_once", [1, 2**24])
def test_the_first_row_that_cannot_be_used_is_named(
    value: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    array = np.zeros((9, 3))
    array[6, 2], array[8, 0] = value, value
    with pytest.raises(
        ConfigError, match=rf"x hold {value} \(the first in row 6, counted from 0\)".replace("+", r"\+")
    ):
        plan_inputs([NamedArray(array, "x")], "auto", "auto", None)


def test_pixels_that_nobody_has_divided_are_said() -> None:
    array = np.linspace(0, 254.5, 4 * 8 * 8).reshape(4, 8, 8)
    assert "from 0 to 254.5" in plan_inputs([NamedArray(array, "x")], "auto", "auto", None).note
    assert not plan_inputs([NamedArray(array / 255, "x")], "auto", "auto", None).note


@pytest.mark.parametrize(
    ("arrays", "kind", "key", "problem"),
    [
        ([np.zeros((2, 3)), np.zeros((2, 4))], "auto", "root", r"differ in shape: \[2, 3\] in x0 and \[2, 4\] in x1"),
        ([np.array(["a"])], "auto", "root", "of type <U1, which is no number"),
        ([np.zeros(2, complex)], "auto", "root", "complex"),
        ([np.zeros((2, 0))], "auto", "root", r"have the shape \[2, 0\]"),
        ([np.array(3)], "auto", "root", r"have the shape \[\]"),
        ([np.full((2, 3), -1)], "auto", "kind", "from -1 to -1, which may be anything"),
        ([np.full((2, 3), -1)], "tokens", "kind", "token ids are whole numbers"),
        ([np.full((2, 3, 3), 999)], "auto", "kind", "from 999 to 999"),
        ([bytes_of(2, 3, 8, 3)], "auto", "layout", "both ends may be channels"),
        ([bytes_of(2, 8, 8, 13)], "auto", "layout", "no axis has 1, 3 or 4"),
        ([bytes_of(2, 2, 8, 8, 3)], "auto", "layout", "three or four axes"),
    ],
)
def test_what_cannot_be_used_is_refused(arrays: list[Any], kind: Any, key: str, problem: str) -> None:
    named = [NamedArray(array, f"x{number}") for number, array in enumerate(arrays)]
    with pytest.raises(ConfigError, match=problem) as caught:
        plan_inputs(named, kind, "auto", None)
    assert caught.value.key == key
    assert caught.value.remedy
