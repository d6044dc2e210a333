"""Labels and columns of the arrays of both sides, one side after the other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsim.data.own.array_files import ArraysByName
from fedsim.data.own.array_inputs import NamedArray
from fedsim.data.own.array_names import Side
from fedsim.data.own.class_labels import to_classes
from fedsim.errors import ConfigError, counted

NAMED = 5
"""Arrays that a note names."""


def read_labels(
    arrays: ArraysByName, sides: Sequence[Side], class_names: Sequence[str]
) -> tuple[list[NDArray[np.int64]], tuple[str, ...]]:
    """The classes of each side [N] or [N, T], and the names of all classes.

    Raises:
        ConfigError: the labels name no classes.
    """
    raw = [_without_last_axis(arrays[side.labels]()) for side in sides]
    for values, side in zip(raw, sides, strict=True):
        if values.ndim not in (1, 2) or 0 in values.shape:
            problem = f"the labels in {side.labels} have the shape {list(values.shape)}"
            raise ConfigError("root", problem, "give one for each sample [N], or for each token [N, T]")
    if len({values.shape[1:] for values in raw}) > 1 or len({values.dtype.kind in "US" for values in raw}) > 1:
        names = " and ".join(f"{side.labels} {list(values.shape)}" for side, values in zip(sides, raw, strict=True))
        raise ConfigError("root", f"labels differ in kind or shape: {names}", "save both sides alike")
    joined = np.concatenate(raw) if len(raw) > 1 else raw[0]
    classes, names_of_all = to_classes(joined, " and ".join(side.labels for side in sides), class_names)
    return np.split(classes, np.cumsum([len(values) for values in raw])[:-1]), names_of_all


def require_fit(inputs: NamedArray, labels: NDArray[np.int64], name: str, *, tokens: bool) -> None:
    """ConfigError if there is not one label for each sample, or for each token of it.

    Args:
        labels: classes [N] or [N, T].
        name: of their array.
        tokens: whether inputs are token ids [N, T].
    """
    values = inputs.values
    if len(values) != len(labels):
        problem = f"{inputs.name} holds {counted(len(values), 'sample')}, and {name} {counted(len(labels), 'label')}"
        raise ConfigError("root", problem, "save as many labels as samples, in the same order")
    if labels.ndim == 2 and not (tokens and labels.shape == values.shape):
        problem = f"the labels in {name} are {list(labels.shape)} for inputs {list(values.shape)}"
        remedy = "if they are one-hot, save labels.argmax(1); a label for each token needs inputs of the same shape"
        raise ConfigError("root", problem, remedy)


def read_columns(
    arrays: ArraysByName, sides: Sequence[Side], counts: Sequence[int]
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """What else is known of the samples [N] by name, and the arrays that say nothing of each sample.

    A column that one side lacks has no value there.

    Args:
        counts: of the samples of each side.
    """
    columns: dict[str, NDArray[Any]] = {}
    left_out: list[str] = []
    for name in dict.fromkeys(name for side in sides for name in side.columns):
        parts = []
        for side, count in zip(sides, counts, strict=True):
            array = side.columns.get(name)
            values = _without_last_axis(arrays[array]()) if array else np.full(count, "")
            if array and (values.shape != (count,) or values.dtype.kind not in "biufUS"):
                left_out.append(array)
            parts.append(np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values)
        if not left_out or not set(left_out) & {side.columns.get(name) for side in sides}:
            columns[name] = np.concatenate([part.astype(np.str_) for part in parts])
    return columns, left_out


def note_of_left_out(left_out: Sequence[str]) -> list[str]:
    """What to say of arrays that are not read."""
    if not left_out:
        return []
    more = f" and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    names = ", ".join(left_out[:NAMED]) + more
    return [f"left out: {names}, for {'they are' if len(left_out) > 1 else 'it is'} no value for each sample"]


def _without_last_axis(values: NDArray[Any]) -> NDArray[Any]:
    """[N] of [N, 1], as some libraries keep labels."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
