"""Inputs from the arrays that users bring: what they are, whether they can be used, and the form they are kept in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedsim.data.storage.cache import reserve_array
from fedsim.errors import ConfigError

Kind = Literal["auto", "images", "numbers", "tokens"]
Layout = Literal["auto", "hw", "hwc", "chw"]

CHANNELS = (1, 3, 4)
"""Of images: an axis of another length is taken for none."""

AT_ONCE = 2**24
"""Bytes that are looked at together."""

TO_THE_BYTE = 1e-3
"""How far a value may be from a whole number to be one: float32 knows 255 times what is below 1 to 1e-5."""

FAR_ABOVE_ONE = 100
"""Values from 0 up to more than this look like pixels that nobody has divided by 255."""

NAMES_OF_AXES = {"hw": "[N, H, W]", "hwc": "[N, H, W, C]", "chw": "[N, C, H, W]"}

AS_TOKENS = (
    "the inputs in {} are whole numbers [N, T] and read as token ids; data.kind=numbers reads them as numbers, "
    "data.kind=tokens says that this is right"
)

SAVE_AS_NUMBERS = "save numbers, for example inputs.astype('float32')"


@dataclass(frozen=True)
class NamedArray:
    """An array [N, ...], perhaps in a file, and what it is called in messages."""

    values: NDArray[Any]
    name: str


@dataclass(frozen=True)
class Plan:
    """The form in which inputs are kept: shape of one, type, and what values are multiplied by."""

    shape: tuple[int, ...]
    channels_last: bool
    dtype: type[np.generic]
    factor: float = 1.0
    vocabulary: int | None = None
    note: str = ""


@dataclass(frozen=True)
class _Values:
    """What all values have in common.

    Attributes:
        whole: they are whole numbers.
        parts_of_255: they are whole numbers divided by 255.
    """

    low: float = inf
    high: float = -inf
    whole: bool = True
    parts_of_255: bool = True

    def __and__(self, other: "_Values") -> "_Values":
        return _Values(
            min(self.low, other.low),
            max(self.high, other.high),
            self.whole and other.whole,
            self.parts_of_255 and other.parts_of_255,
        )


def plan_inputs(arrays: Sequence[NamedArray], kind: Kind, layout: Layout, vocabulary: int | None) -> Plan:
    """How arrays of the same inputs (to train and to test) are kept.

    Whole numbers from 0 to 255, of whatever type, and floats that are such numbers divided by 255 are images where
    they have three or four axes. Other whole numbers [N, T] are token ids, and everything else is numbers.

    Raises:
        ConfigError: they do not fit each other, are of a type that is no number, or hold NaN or infinity.
    """
    first = arrays[0]
    for other in arrays:
        _require_numbers(other)
        if other.values.shape[1:] != first.values.shape[1:]:
            shapes = f"{list(first.values.shape)} in {first.name} and {list(other.values.shape)} in {other.name}"
            raise ConfigError("root", f"inputs differ in shape: {shapes}", "give all samples the same")
    values = _Values()
    for array in arrays:
        values &= _values_of(array)
    found = _kind(first, values) if kind == "auto" else kind
    if found == "tokens":
        return _tokens(arrays, values, vocabulary, AS_TOKENS.format(first.name) if kind == "auto" else "")
    if found == "images":
        return _images(first, values, layout)
    shape = first.values.shape[1:] or (1,)
    return Plan(shape, False, np.float32, note=_note(first, values))


def write_inputs(path: Path, arrays: Sequence[NamedArray], plan: Plan) -> None:
    """Write arrays one after another into one ``.npy`` file."""
    count = sum(len(array.values) for array in arrays)
    out = reserve_array(path, (count, *plan.shape), plan.dtype)
    start = 0
    for array in arrays:
        for _, rows in _chunks(array.values):
            kept = np.moveaxis(rows, -1, 1) if plan.channels_last else rows
            if plan.factor != 1:
                kept = np.rint(kept.astype(np.float64) * plan.factor)
            out[start : start + len(rows)] = kept.reshape(len(rows), *plan.shape)
            start += len(rows)


def _require_numbers(array: NamedArray) -> None:
    values = array.values
    if values.dtype.kind not in "biuf":
        kind = "complex numbers" if values.dtype.kind == "c" else f"of type {values.dtype}, which is no number"
        raise ConfigError("root", f"the inputs in {array.name} are {kind}", SAVE_AS_NUMBERS)
    if values.ndim == 0 or 0 in values.shape[1:]:
        problem = f"the inputs in {array.name} have the shape {list(values.shape)}"
        raise ConfigError("root", problem, "give an array [N, ...] of N samples")


def _chunks(values: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Some rows after another, with the number of the first."""
    rows = max(1, AT_ONCE // max(1, values.dtype.itemsize * prod(values.shape[1:])))
    for start in range(0, len(values), rows):
        yield start, np.asarray(values[start : start + rows])


def _values_of(array: NamedArray) -> _Values:
    found = _Values()
    if array.values.dtype in (np.uint8, np.bool_):
        return _Values(0, 255, True, False)
    for start, rows in _chunks(array.values):
        if rows.dtype.kind == "f":
            _require_finite(rows, start, array.name)
        found &= _values_of_rows(rows)
    return found


def _require_finite(rows: NDArray[Any], start: int, name: str) -> None:
    with np.errstate(over="ignore"):
        kept = rows.reshape(len(rows), -1).astype(np.float32, copy=False)
    usable = np.isfinite(kept)
    if not usable.all():
        row = int(usable.all(axis=1).argmin())
        value = rows[row].ravel()[usable[row].argmin()]
        problem = f"the inputs in {name} hold {value} (the first in row {start + row}, counted from 0)"
        raise ConfigError("root", problem, "leave such rows out, or fill in values, before you save them")


def _values_of_rows(rows: NDArray[Any]) -> _Values:
    low, high = float(rows.min()), float(rows.max())
    if rows.dtype.kind != "f":
        return _Values(low, high, True, False)
    whole = bool((rows == np.rint(rows)).all())
    if low < 0 or high > 1:
        return _Values(low, high, whole, False)
    scaled = rows.astype(np.float64) * 255
    return _Values(low, high, whole, bool((np.abs(scaled - np.rint(scaled)) < TO_THE_BYTE).all()))


def _holds_bytes(values: _Values) -> bool:
    return values.low >= 0 and values.high <= 255 and values.whole


def _kind(array: NamedArray, values: _Values) -> Kind:
    axes, floating = array.values.ndim, array.values.dtype.kind == "f"
    if axes >= 3 and (_holds_bytes(values) or values.parts_of_255):
        return "images"
    if floating:
        return "images" if axes == 4 else "numbers"
    if array.values.dtype.itemsize == 1 or axes == 1:
        return "numbers"
    if axes == 2 and values.low >= 0:
        return "tokens"
    shape = f"whole numbers {list(array.values.shape)} from {values.low:.0f} to {values.high:.0f}"
    remedy = "set it to images, numbers or tokens, or save numbers as floats and images as uint8"
    raise ConfigError("kind", f"the inputs in {array.name} are {shape}, which may be anything", remedy)


def _tokens(arrays: Sequence[NamedArray], values: _Values, vocabulary: int | None, note: str) -> Plan:
    shape = arrays[0].values.shape
    if len(shape) != 2 or not values.whole or values.low < 0:
        problem = f"the inputs in {arrays[0].name} are {list(shape)} from {values.low:g} to {values.high:g}"
        raise ConfigError("kind", f"{problem}, but token ids are whole numbers [N, T] from 0", "set it to numbers")
    needed = int(values.high) + 1
    if vocabulary is not None and vocabulary < needed:
        problem = f"{vocabulary}, but there is a token id {needed - 1}"
        raise ConfigError("vocabulary", problem, f"set it to {needed} or more")
    return Plan(shape[1:], False, np.int64, vocabulary=vocabulary or needed, note=note)


def _images(array: NamedArray, values: _Values, layout: Layout) -> Plan:
    shape = array.values.shape
    layout = _layout(array) if layout == "auto" else layout
    if len(shape) != len(layout) + 1:
        problem = f"the images in {array.name} are {list(shape)}, not {NAMES_OF_AXES[layout]}"
        raise ConfigError("layout", problem, "set another, or auto")
    channels_last = layout == "hwc"
    one = (1, *shape[1:]) if layout == "hw" else (shape[3], *shape[1:3]) if channels_last else shape[1:]
    if _holds_bytes(values) and not (values.parts_of_255 and array.values.dtype.kind == "f"):
        return Plan(one, channels_last, np.uint8)
    if values.parts_of_255:
        return Plan(one, channels_last, np.uint8, factor=255)
    return Plan(one, channels_last, np.float32, note=_note(array, values))


def _layout(array: NamedArray) -> Layout:
    """Where the channels are: on the one of both axes that has 1, 3 or 4 entries."""
    shape = array.values.shape
    if len(shape) == 3:
        return "hw"
    if len(shape) == 4:
        first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
        if first != last:
            return "chw" if first else "hwc"
        why = "both ends may be channels" if first else "no axis has 1, 3 or 4 entries, as channels have"
    else:
        why = "they should have three or four axes"
    problem = f"the images in {array.name} are {list(shape)}: {why}"
    raise ConfigError("layout", problem, "set it to chw for [N, C, H, W] or hwc for [N, H, W, C]")


def _note(array: NamedArray, values: _Values) -> str:
    """What there is to say of images whose values are of an odd range."""
    if array.values.ndim < 3 or values.low < 0 or not FAR_ABOVE_ONE < values.high <= 255:
        return ""
    return (
        f"the inputs in {array.name} go from {values.low:g} to {values.high:g} and are shown to the model so; if "
        "they are images, divide them by 255 or save them as uint8"
    )
