"""Rows of a table: features, a label, and what else is known of each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from fedsim.data.images.walk import is_hidden
from fedsim.data.own.array_inputs import NamedArray, plan_inputs, write_inputs
from fedsim.data.own.array_names import TEST, TRAIN, VALIDATION, side_of
from fedsim.data.own.class_labels import to_classes
from fedsim.data.own.own_samples import Facts, own_samples, tests_among
from fedsim.data.own.table_columns import READERS, Table, labels, numbers, one_hot, read_columns
from fedsim.data.samples import Splits
from fedsim.data.sources.base import DataSource, sources
from fedsim.data.storage.converted import cache_name, is_converted
from fedsim.errors import ConfigError
from fedsim.settings import Schema

LABELS = ("label", "labels", "target", "targets", "class", "y")

CLIENT = "client"

QUICK = 2**24
"""Bytes of tables that are read in some seconds, so that ``--check`` reads them, too."""

FEW_ROWS = 10
"""In fewer rows any feature may look like row numbers."""


@sources.register("table")
class TableFile(DataSource):
    """A CSV or Parquet table with a column of labels; all others are numeric features, unless they are named.

    ``train.csv`` and ``test.csv``, or one table of which a share of each class is held out.
    """

    class Settings(Schema):
        label: str | None = Field(
            None, min_length=1, description="column of labels; null: label, target, class or y, in any letter case"
        )
        features: list[str] = Field([], description="numeric columns that are inputs; empty: all others")
        categories: list[str] = Field(
            [], description="columns of text that are inputs, too: a column of 0 and 1 for each value"
        )
        columns: list[str] | None = Field(
            None,
            description="columns that are no inputs but facts about a row, for the partitioner natural; null: "
            "client, if there is one",
        )
        standardize: bool = Field(
            True, description="subtract the mean of the training rows, and divide by their standard deviation"
        )
        test_share: float = Field(
            0.2, gt=0, lt=1, description="share of each class that is held out where there is no table for testing"
        )
        split_seed: int = Field(0, ge=0, description="of the draw of what is held out, the same for all runs")

    reads_root, accepts_file = True, True
    settings: Settings

    def repair(self, root: Path | None) -> str:
        return f"put a table with a column of labels there, {root or 'FOLDER'}/train.csv and test.csv for example"

    def sketch(self, root: Path | None) -> Splits | None:
        assert root is not None
        files = self._files(root)
        quick = sum(path.stat().st_size for path in files) <= QUICK
        return self.load(root) if quick or is_converted(self._cached_as(root, files)) else None

    def load(self, root: Path | None) -> Splits:
        assert root is not None
        self.check(root)
        files, settings = self._files(root), self.settings
        return own_samples(
            root,
            self._cached_as(root, files),
            lambda folder: self._make(files, folder),
            settings.test_share,
            settings.split_seed,
        )

    def _cached_as(self, root: Path, files: Sequence[Path]) -> str:
        return cache_name(self.name, files, self.settings.model_dump(), self.repair(root))

    def check(self, root: Path | None) -> None:
        super().check(root)
        assert root is not None
        self._files(root)

    def _files(self, root: Path) -> list[Path]:
        """The table to train on and the one to test on, or one of both."""
        if root.is_file():
            return [root]
        try:
            found = sorted(path for path in root.iterdir() if path.suffix.lower() in READERS and path.is_file())
        except OSError as error:
            raise ConfigError("root", f"cannot read {root}: {error.strerror}", "make it readable") from None
        found = [path for path in found if not is_hidden(path.name)]
        if len(found) == 1:
            return found
        sides: dict[str, Path] = {}
        for path in found:
            side = side_of(path.stem)
            if side is not None and (first := sides.setdefault(side, path)) != path:
                problem = f"both {first} and {path.name} are called as the table to {side}"
                raise ConfigError("root", problem, "take one away, or name one table by data.root")
        test = sides.get(TEST) or sides.get(VALIDATION)
        if TRAIN in sides and test is not None:
            return [sides[TRAIN], test]
        listed = ", ".join(path.name for path in found) or "none"
        kinds = ", ".join(READERS)
        problem = f"{root} should hold one table ({kinds}), or train and test (found: {listed})"
        raise ConfigError("root", problem, "name one of them by data.root, or call them train.csv and test.csv")

    def _make(self, files: Sequence[Path], folder: Path) -> Facts:
        tables = [read_columns(path) for path in files]
        label = self._label(tables[0])
        classes, class_names = to_classes(labels(tables, label), f"column '{label}'")
        for_test = np.repeat([False, True], [len(table) for table in tables]) if len(tables) == 2 else None
        settings = self.settings
        about = self._about(tables[0], label)
        features = self._features(tables[0], {label, *about})
        chosen = tests_among(torch.from_numpy(classes), for_test, settings.test_share, settings.split_seed).numpy()
        inputs, notes = self._inputs(tables, features, chosen)
        array = NamedArray(inputs, files[0].name)
        write_inputs(folder / "inputs.npy", [array], plan_inputs([array], "numbers", "auto", None))
        facts = {
            name: np.array([value for table in tables for value in table.column(name, "columns")]) for name in about
        }
        return Facts(labels=classes, class_names=class_names, columns=facts, for_test=chosen, notes=notes)

    def _label(self, table: Table) -> str:
        if self.settings.label is not None:
            table.column(self.settings.label, "label")
            return self.settings.label
        found = [name for usual in LABELS for name in table.columns if name.lower() == usual]
        if not found:
            listed = ", ".join(list(table.columns)[:10])
            problem = f"{table.path} has no column {', '.join(LABELS[:-1])} or {LABELS[-1]} (it has: {listed})"
            raise ConfigError("label", problem, "set it to the column of labels")
        return found[0]

    def _about(self, table: Table, label: str) -> list[str]:
        """The columns that are facts about rows."""
        if self.settings.columns is None:
            return [name for name in table.columns if name.lower() == CLIENT and name != label]
        return list(dict.fromkeys(self.settings.columns))

    def _features(self, table: Table, others: set[str]) -> list[str]:
        settings = self.settings
        for key in ("features", "categories"):
            for name in getattr(settings, key):
                table.column(name, key)
                if name in others:
                    raise ConfigError(key, f"'{name}' is the label, or in data.columns", "name it once")
        if settings.features:
            wanted = {*settings.features, *settings.categories}
            return [name for name in table.columns if name in wanted]
        found = [name for name in table.columns if name not in others]
        if not found:
            raise ConfigError("root", f"{table.path} has no column of features", "add one")
        return found

    def _inputs(
        self, tables: Sequence[Table], names: Sequence[str], for_test: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], list[str]]:
        """The features of all rows [N, D], and what there is to say of them."""
        parts, notes = [], []
        for name in names:
            if name in self.settings.categories:
                parts.append(one_hot(tables, name))
                continue
            values = np.concatenate([numbers(table, name) for table in tables])
            if _counts_rows(values):
                notes.append(
                    f"the feature '{name}' looks like the number of the row; if it is, add it to data.columns"
                )
            parts.append(_standardized(values, ~for_test)[:, None] if self.settings.standardize else values[:, None])
        return np.concatenate(parts, axis=1), notes


def _standardized(values: NDArray[np.float64], train: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Without the mean of the training rows, in their standard deviations; one that never varies there becomes 0."""
    seen = values[train]
    return (values - seen.mean()) / (seen.std() if seen.min() < seen.max() else 1.0)


def _counts_rows(values: NDArray[np.float64]) -> bool:
    """Whether these are whole numbers, one after another, each of one row."""
    if len(values) < FEW_ROWS or values.max() - values.min() != len(values) - 1:
        return False
    return len(np.unique(values)) == len(values) and bool((values == np.rint(values)).all())
