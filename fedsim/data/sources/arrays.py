"""Arrays in files: inputs, labels, and what else is known of each sample."""

from pathlib import Path

import numpy as np
import torch
from pydantic import Field, PositiveInt

from fedsim.data.own.array_files import ArraysByName, find_array_files, open_arrays
from fedsim.data.own.array_inputs import Kind, Layout, NamedArray, plan_inputs, write_inputs
from fedsim.data.own.array_names import TEST, TRAIN, VALIDATION, Side, sort_out
from fedsim.data.own.array_sides import note_of_left_out, read_columns, read_labels, require_fit
from fedsim.data.own.own_samples import Facts, naming, own_samples, tests_among
from fedsim.data.samples import Splits
from fedsim.data.sides import check_sides
from fedsim.data.sources.base import DataSource, Outline, outline, sources
from fedsim.data.storage.converted import cache_name, is_converted
from fedsim.errors import ConfigError
from fedsim.settings import Schema

QUICK = 2**28
"""Bytes of files that are read in some seconds, so that ``--check`` reads all of them."""


@sources.register("arrays")
class ArrayFiles(DataSource):
    """Arrays ``x`` and ``y`` in ``.npy``, ``.npz``, ``.safetensors`` or ``.pt`` files: images, numbers or token ids.

    Samples for testing are in arrays or files called ``test``; else a share of each class is held out. Any other
    array with a value for each sample is a column, for the partitioner ``natural``. Nothing is unpickled.
    """

    class Settings(Schema):
        inputs: str | None = Field(
            None, min_length=1, description="name of the array of inputs; null: x, inputs, images, data, ..."
        )
        labels: str | None = Field(
            None, min_length=1, description="name of the array of labels; null: y, labels, targets, ..."
        )
        class_names: list[str] = Field([], description="of the classes 0, 1, ...; empty: the labels themselves")
        kind: Kind = Field(
            "auto",
            description="what inputs are; auto: bytes of three or four axes are images, whole numbers [N, T] tokens, "
            "all else numbers",
        )
        layout: Layout = Field(
            "auto", description="axes of images; auto: channels are where an axis has 1, 3 or 4 entries"
        )
        shape: list[PositiveInt] = Field(
            [], max_length=8, description="of one input, where inputs are saved flat, for example [28, 28]"
        )
        vocabulary: int | None = Field(None, ge=1, description="number of token ids; null: the largest one plus 1")
        test_share: float = Field(
            0.2, gt=0, lt=1, description="share of each class that is held out where nothing is for testing"
        )
        split_seed: int = Field(0, ge=0, description="of the draw of what is held out, the same for all runs")

    reads_root, accepts_file = True, True
    settings: Settings

    def repair(self, root: Path | None) -> str:
        return f"put x.npy and y.npy, or one .npz, .safetensors or .pt file with x and y, into {root or 'FOLDER'}"

    def survey(self, root: Path | None) -> Outline | None:
        super().survey(root)
        assert root is not None
        with naming(root):
            arrays, sides = self._open(root, find_array_files(root))
            parts, class_names = read_labels(arrays, sides, self.settings.class_names)
            counts = [len(part) for part in parts]
            columns, _ = read_columns(arrays, sides, counts)
            labels = torch.from_numpy(np.concatenate(parts))
            for_test = tests_among(labels, _for_test(counts), self.settings.test_share, self.settings.split_seed)
        check_sides(labels[~for_test], labels[for_test], class_names)
        return outline(labels, {name: values.tolist() for name, values in columns.items()}, for_test)

    def sketch(self, root: Path | None) -> Splits | None:
        assert root is not None
        files = find_array_files(root)
        quick = sum(path.stat().st_size for path in files) <= QUICK
        return self.load(root) if quick or is_converted(self._cached_as(root, files)) else None

    def load(self, root: Path | None) -> Splits:
        assert root is not None
        self.check(root)
        files, settings = find_array_files(root), self.settings
        return own_samples(
            root,
            self._cached_as(root, files),
            lambda folder: self._make(root, files, folder),
            settings.test_share,
            settings.split_seed,
        )

    def _cached_as(self, root: Path, files: list[Path]) -> str:
        facts = self.settings.model_dump(exclude={"test_share", "split_seed"})
        return cache_name(self.name, files, facts, self.repair(root))

    def _make(self, root: Path, files: list[Path], folder: Path) -> Facts:
        arrays, sides = self._open(root, files)
        labels, class_names = read_labels(arrays, sides, self.settings.class_names)
        inputs = [self._shaped(NamedArray(arrays[side.inputs](), side.inputs)) for side in sides]
        plan = plan_inputs(inputs, self.settings.kind, self.settings.layout, self.settings.vocabulary)
        for array, classes, side in zip(inputs, labels, sides, strict=True):
            require_fit(array, classes, side.labels, tokens=plan.vocabulary is not None)
        counts = [len(classes) for classes in labels]
        columns, left_out = read_columns(arrays, sides, counts)
        write_inputs(folder / "inputs.npy", inputs, plan)
        return Facts(
            labels=np.concatenate(labels),
            class_names=class_names,
            columns=columns,
            for_test=_for_test(counts),
            vocabulary=plan.vocabulary,
            notes=[*filter(None, [plan.note]), *note_of_left_out(left_out)],
        )

    def _open(self, root: Path, files: list[Path]) -> tuple[ArraysByName, list[Side]]:
        """All arrays by name, and what those to train and those to test are called."""
        arrays = open_arrays(root, files)
        sides = sort_out(arrays, self.settings.inputs, self.settings.labels)
        test = sides.get(TEST) or sides.get(VALIDATION)
        return arrays, [sides[TRAIN], *([test] if test else [])]

    def _shaped(self, array: NamedArray) -> NamedArray:
        """Inputs of the shape that is set."""
        shape = self.settings.shape
        if not shape:
            return array
        try:
            return NamedArray(array.values.reshape(len(array.values), *shape), array.name)
        except (ValueError, TypeError):
            problem = f"the inputs in {array.name}, {list(array.values.shape)}, cannot have the shape {shape} each"
            raise ConfigError("shape", problem, "correct it, or leave it out") from None


def _for_test(counts: list[int]) -> np.ndarray | None:
    """Which samples of both sides are for testing; None if there is one side."""
    return np.repeat([False, True], counts) if len(counts) == 2 else None
