"""The two sides of a data set: what is to train must be tested, and the other way round."""

import warnings
from collections.abc import Sequence

from torch import Tensor

from fedsim.data.labels import IGNORED, count_classes, count_labels
from fedsim.data.samples import Splits
from fedsim.errors import ConfigError, FedsimWarning

NAMED = 5
"""Classes that a warning names; the rest are counted."""


def check_splits(splits: Splits) -> None:
    """:func:`check_sides` of a loaded data set."""
    check_sides(splits.train.labels, splits.test.labels, splits.class_names)


def check_sides(train: Tensor, test: Tensor, class_names: Sequence[str]) -> None:
    """FedsimWarning for classes that only one side has.

    Args:
        train: classes of the training samples [N], or of their positions [N, T].
        test: classes of the test samples.

    Raises:
        ConfigError: a side has no samples at all, or a sample has no class, or one that does not exist.
    """
    for labels, side in ((train, "train"), (test, "test")):
        if len(labels) == 0:
            raise ConfigError("", f"there are no samples to {side}", "add some, or name another folder")
        _require_classes(labels, side, len(class_names))
    trained, tested = (count_classes(labels, len(class_names)) > 0 for labels in (train, test))
    _warn(trained & ~tested, "training samples but no test samples, so quality says nothing about", class_names)
    _warn(tested & ~trained, "test samples but no training samples, so no client can learn", class_names)


def _require_classes(labels: Tensor, side: str, num_classes: int) -> None:
    wrong = (labels != IGNORED) & ((labels < 0) | (labels >= num_classes))
    if wrong.any():
        sample = int(wrong.nonzero()[0, 0])
        problem = f"sample {sample} to {side} has the class {int(labels[wrong][0])}"
        raise ConfigError("", problem, f"classes go from 0 to {num_classes - 1}")
    without = (count_labels(labels) == 0).nonzero().flatten()
    if len(without):
        problem = f"sample {int(without[0])} to {side} has no class" + " at any position" * (labels.ndim > 1)
        raise ConfigError("", problem, "give it one, or leave it out")


def _warn(which: Tensor, what: str, class_names: Sequence[str]) -> None:
    names = [class_names[label] for label in which.nonzero().flatten().tolist()]
    if names:
        they = "it" if len(names) == 1 else "them"
        listed = ", ".join(f"'{name}'" for name in names[:NAMED])
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        have = f"class {listed} has" if len(names) == 1 else f"classes {listed}{more} have"
        warnings.warn(f"{have} {what} {they}", FedsimWarning, stacklevel=4)
