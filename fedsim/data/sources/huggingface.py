"""Data sets that the library ``datasets`` of Hugging Face has saved, whole or in a partition for each client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from fedsim.data.own.array_inputs import Kind, Layout, NamedArray, plan_inputs, write_inputs
from fedsim.data.own.array_sides import require_fit
from fedsim.data.own.class_labels import to_classes
from fedsim.data.own.own_samples import Facts, own_samples
from fedsim.data.own.saved_columns import (
    TOKENS,
    class_names_of,
    fact_columns,
    facts_of,
    input_columns,
    label_column,
    values_of,
)
from fedsim.data.own.saved_folders import SavedFolder, find_saved_folders
from fedsim.data.own.saved_images import write_images
from fedsim.data.samples import Splits
from fedsim.data.sources.base import DataSource, sources
from fedsim.data.storage.converted import cache_name, is_converted
from fedsim.errors import ConfigError
from fedsim.settings import Schema

if TYPE_CHECKING:
    from datasets import Dataset

CLIENT = "client"
"""The column that says in which client's folder a sample lies."""

QUICK = 2**26
"""Bytes of files that are decoded in some seconds, so that ``--check`` reads them, too."""


@sources.register("huggingface")
class HuggingFace(DataSource):
    """What ``save_to_disk`` of the library ``datasets`` wrote: images, token ids or numbers, and labels.

    A folder of such folders (``partition_0``, ...), as flwr-datasets saves them, has a client for each: column
    ``client``. Needs ``pip install 'fedsim-byzantine[hf]'``.
    """

    class Settings(Schema):
        inputs: list[str] = Field(
            [], description="columns of inputs; empty: the images, else input_ids, else the arrays, else all numbers"
        )
        label: str | None = Field(
            None, min_length=1, description="column of labels; null: the one of classes, or called label"
        )
        columns: list[str] = Field(
            [], description="columns of facts about samples, for the partitioner natural; empty: all that are left"
        )
        kind: Kind = Field("auto", description="what inputs other than pictures are, as of the data set arrays")
        layout: Layout = Field("auto", description="axes of images that are arrays, as of the data set arrays")
        vocabulary: int | None = Field(None, ge=1, description="number of token ids; null: the largest one plus 1")
        test_share: float = Field(
            0.2, gt=0, lt=1, description="share of each class that is held out where nothing is for testing"
        )
        split_seed: int = Field(0, ge=0, description="of the draw of what is held out, the same for all runs")

    reads_root = True
    settings: Settings

    def repair(self, root: Path | None) -> str:
        return f"save a data set there: dataset.save_to_disk('{root or 'FOLDER'}')"

    def check(self, root: Path | None) -> None:
        super().check(root)
        assert root is not None
        find_saved_folders(root)

    def sketch(self, root: Path | None) -> Splits | None:
        assert root is not None
        quick = sum(path.stat().st_size for path in self._files(root)) <= QUICK
        return self.load(root) if quick or is_converted(self._cached_as(root)) else None

    def load(self, root: Path | None) -> Splits:
        assert root is not None
        self.check(root)
        settings = self.settings
        return own_samples(
            root,
            self._cached_as(root),
            lambda folder: self._make(root, folder),
            settings.test_share,
            settings.split_seed,
        )

    def _cached_as(self, root: Path) -> str:
        facts = self.settings.model_dump(exclude={"test_share", "split_seed"})
        return cache_name(self.name, self._files(root), facts, self.repair(root))

    def _files(self, root: Path) -> list[Path]:
        train, test = find_saved_folders(root)
        return [path for saved in (*train, *test) for path in saved.files]

    def _make(self, root: Path, folder: Path) -> Facts:
        train, test = find_saved_folders(root)
        parts = [_load(saved) for saved in (*train, *test)]
        dataset = _joined(parts, [*train, *test])
        label = label_column(dataset, self.settings.label)
        classes, class_names = to_classes(values_of(dataset, label), f"'{label}'", class_names_of(dataset, label))
        inputs = input_columns(dataset, self.settings.inputs, {label, *self.settings.columns})
        sizes, vocabulary, notes = self._write(folder / "inputs.npy", dataset, inputs, classes, label)
        names = fact_columns(dataset, self.settings.columns, {label, *inputs})
        columns = {name: facts for name in names if (facts := facts_of(dataset, name)) is not None}
        clients = [saved.client for saved in (*train, *test)]
        if any(clients):
            columns = {CLIENT: np.repeat(clients, [len(part) for part in parts]), **columns}
        counts = [sum(map(len, parts[: len(train)])), sum(map(len, parts[len(train) :]))]
        return Facts(
            labels=classes,
            class_names=class_names,
            columns=columns,
            for_test=np.repeat([False, True], counts) if test else None,
            sizes=sizes,
            vocabulary=vocabulary,
            notes=notes,
        )

    def _write(
        self, path: Path, dataset: Dataset, names: Sequence[str], classes: np.ndarray, label: str
    ) -> tuple[np.ndarray | None, int | None, list[str]]:
        """Write the inputs: sizes of images where they differ, vocabulary of tokens, and what there is to say."""
        from datasets import Image

        if isinstance(dataset.features[names[0]], Image):
            return write_images(path, dataset, names[0]), None, []
        columns = [values_of(dataset, name) for name in names]
        scalars = columns[0].ndim == 1
        if len(columns) > 1 and not all(column.ndim == 1 for column in columns):
            raise ConfigError("inputs", f"{', '.join(names)} are not all one number a row", "name one column")
        values = np.stack(columns, axis=1) if scalars else columns[0]
        array = NamedArray(values, "'" + "', '".join(names[:3]) + "'")
        kind = self._kind(names[0], scalars=scalars)
        plan = plan_inputs([array], kind, self.settings.layout, self.settings.vocabulary)
        require_fit(array, classes, label, tokens=plan.vocabulary is not None)
        write_inputs(path, [array], plan)
        return None, plan.vocabulary, [plan.note] if plan.note else []

    def _kind(self, name: str, *, scalars: bool) -> Kind:
        """What inputs are, where their name or their number says it."""
        known: Kind = "numbers" if scalars else "tokens" if name == TOKENS else "auto"
        return known if self.settings.kind == "auto" else self.settings.kind


def _load(saved: SavedFolder) -> Dataset:
    try:
        from datasets import load_from_disk
    except ImportError:
        problem = "the library datasets is not installed"
        raise ConfigError("name", problem, "pip install 'fedsim-byzantine[hf]'") from None
    try:
        dataset = load_from_disk(str(saved.path)).with_format(None)
    except Exception as error:  # damaged files make it raise nearly everything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError("root", f"cannot read {saved.path}: {reason}", "save the data set again") from None
    if len(dataset) == 0:
        raise ConfigError("root", f"{saved.path} holds no samples", "leave it out, or save it again")
    return dataset


def _joined(parts: Sequence[Dataset], folders: Sequence[SavedFolder]) -> Dataset:
    """All samples, one folder after another; ConfigError if their columns differ."""
    from datasets import concatenate_datasets

    for part, saved in zip(parts, folders, strict=True):
        if part.features != parts[0].features:
            problem = f"{saved.path} has other columns than {folders[0].path}, or of other types"
            raise ConfigError("root", problem, "save all with the same features")
    return concatenate_datasets(list(parts))
