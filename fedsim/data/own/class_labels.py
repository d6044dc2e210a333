"""Classes from the labels that users bring: whole numbers or text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsim.errors import ConfigError
from fedsim.files import printable

BOTH_SIGNS = (-1, 1)
"""Two classes, as linear classifiers are taught them: the one case of a negative class."""


def to_classes(
    labels: NDArray[Any], name: str, class_names: Sequence[str] = ()
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Classes 0, 1, ... of the same shape, and their names: the different labels in sorted order.

    Args:
        labels: whole numbers, booleans or text, [N] or [N, T].
        name: what they are called, for messages.
        class_names: of all classes where they are known: their names in order, of which text labels are some, or
            into which numbers count.

    Raises:
        ConfigError: the labels name no classes.

    >>> to_classes(np.array(["dog", "cat", "dog"]), "y")
    (array([1, 0, 1]), ('cat', 'dog'))
    >>> to_classes(np.array([0, 2]), "y", class_names=("cat", "dog", "owl"))
    (array([0, 2]), ('cat', 'dog', 'owl'))
    """
    labels = _checked(labels, name)
    if class_names:
        return _numbered(labels, name, class_names), tuple(class_names)
    values, classes = np.unique(labels, return_inverse=True)
    if len(values) < 2:
        problem = f"all labels in {name} are {values[0]!s}" if len(values) else f"{name} holds no labels"
        raise ConfigError("root", problem, "add samples of another class")
    return classes.reshape(labels.shape).astype(np.int64), tuple(printable(str(value)) for value in values.tolist())


def _checked(labels: NDArray[Any], name: str) -> NDArray[Any]:
    """Labels that can be counted: bytes are text, and negative numbers are refused."""
    if labels.dtype.kind == "S":
        return np.char.decode(labels, "utf-8", "backslashreplace")
    if labels.dtype.kind not in "biuU":
        kind = "real numbers" if labels.dtype.kind == "f" else f"of type {labels.dtype}"
        remedy = "save classes as whole numbers (labels.astype(int)) or text; only classification is done here"
        raise ConfigError("root", f"the labels in {name} are {kind}", remedy)
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0 and not np.isin(labels, BOTH_SIGNS).all():
        row = int((labels.reshape(len(labels), -1) < 0).any(axis=1).argmax())
        problem = f"the labels in {name} are negative (the first in row {row}: {labels[row].min()})"
        raise ConfigError("root", problem, "number classes from 0, or leave these samples out")
    return labels


def _numbered(labels: NDArray[Any], name: str, class_names: Sequence[str]) -> NDArray[np.int64]:
    """The positions of labels among the names of all classes."""
    if labels.dtype.kind == "U":
        known = {class_name: number for number, class_name in enumerate(class_names)}
        unknown = sorted(set(labels.ravel().tolist()) - set(known))
        if unknown:
            raise ConfigError("root", f"{name} has a label '{unknown[0]}' that is no class", "name all classes")
        return np.vectorize(known.__getitem__, otypes=[np.int64])(labels)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(class_names):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        problem = f"{name} has a label {wrong}, but there are {len(class_names)} names of classes"
        raise ConfigError("root", problem, "name all classes")
    return labels.astype(np.int64)
