"""FEMNIST: letters and digits by their writers, from the JSON files that LEAF makes."""

import string
import warnings
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.formats.femnist_files import ARRAYS, convert_users
from fedsim.data.formats.leaf import json_files
from fedsim.data.images.class_folders import held_out
from fedsim.data.samples import Splits, TensorSamples
from fedsim.data.sources.base import DataSource, sources
from fedsim.data.storage.cache import cached_arrays
from fedsim.data.storage.converted import cache_name, is_converted
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.files import folder_exists
from fedsim.registry import Reference
from fedsim.seeds import derive_generator
from fedsim.settings import Schema

CLASSES = tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase)
WHOLE = "all_data"
SPLIT_SETTINGS = ("hold_out", "test_share", "split_seed")


@sources.register(
    "femnist",
    Reference(
        authors="Caldas, Duddu, Wu, Li, Konečný, McMahan, Smith and Talwalkar",
        title="LEAF: A Benchmark for Federated Settings",
        year=2018,
        venue="arXiv preprint",
        url="https://arxiv.org/abs/1812.01097",
    ),
    Reference(
        authors="Cohen, Afshar, Tapson and van Schaik",
        title="EMNIST: Extending MNIST to handwritten letters",
        year=2017,
        venue="IJCNN",
        url="https://arxiv.org/abs/1702.05373",
    ),
)
class Femnist(DataSource):
    """Some 800 000 letters and digits of 28 x 28 pixels in 62 classes, by 3 597 writers (column ``writer``).

    LEAF's folders ``train`` and ``test`` are taken as they are; without them, ``all_data`` is split here. The numbers
    from 0 to 1 are kept as the bytes that LEAF made them from: dark ink (0) on white paper (255).
    """

    class Settings(Schema):
        hold_out: Literal["samples", "writers"] = Field(
            "samples",
            description="where there is only all_data, test on some samples of each writer, or on some writers",
        )
        test_share: float = Field(0.1, gt=0, lt=1, description="share of them")
        split_seed: int = Field(0, ge=0, description="of the draw of what is held out, the same for all runs")

    reads_root = True
    settings: Settings

    def repair(self, root: Path | None) -> str:
        command = "`./preprocess.sh -s niid --sf 1.0 -k 0 -t sample`"
        return f"run {command} in LEAF's data/femnist, and put its data/train and data/test into {root or 'FOLDER'}"

    def check(self, root: Path | None) -> None:
        super().check(root)
        assert root is not None
        self._files(root)

    def sketch(self, root: Path | None) -> Splits | None:
        self.check(root)
        assert root is not None
        return self.load(root) if is_converted(self._cache_name(root)) else None

    def load(self, root: Path | None) -> Splits:
        self.check(root)
        assert root is not None
        name, repair = self._cache_name(root), f"remove what is damaged; then {self.repair(root)}"
        arrays = cached_arrays(
            name, ARRAYS, lambda folder: convert_users(self._files(root), len(CLASSES), folder, repair)
        )
        writers, names = torch.from_numpy(arrays["writers"]).long(), arrays["names"].tolist()
        columns = {"writer": [names[writer] for writer in writers.tolist()]}
        labels = torch.from_numpy(arrays["labels"]).long()
        samples = TensorSamples(torch.from_numpy(arrays["images"]), labels, columns, name)
        ends = arrays["ends"].tolist()
        for_test = self._held_out(writers) if len(ends) == 1 else torch.arange(len(labels)) >= ends[0]
        return Splits.divided(
            samples,
            for_test,
            class_names=CLASSES,
            input_shape=tuple(samples.inputs.shape[1:]),
        )

    def _held_out(self, writers: Tensor) -> Tensor:
        """Which samples [N] are for testing, by their writers [N]."""
        settings = self.settings
        if settings.hold_out == "samples":
            return held_out(writers, settings.test_share, settings.split_seed)
        count = int(writers.max()) + 1
        order = torch.randperm(count, generator=derive_generator(settings.split_seed, "held out writers"))
        return torch.isin(writers, order[: min(max(1, round(settings.test_share * count)), count - 1)])

    def _files(self, root: Path) -> list[list[Path]]:
        """Files to train and files to test; or all files, if LEAF has not split them."""
        for place in (root, root / "data"):
            if folder_exists(place / "train") and folder_exists(place / "test"):
                self._warn_of_settings_without_effect(place)
                return [json_files(place / side, self.repair(root)) for side in ("train", "test")]
        for place in (root, root / "data"):
            if folder_exists(place / WHOLE):
                return [json_files(place / WHOLE, self.repair(root))]
        problem = f"there are no folders {root / 'train'} and {root / 'test'}, nor {root / WHOLE}"
        raise ConfigError("root", problem, self.repair(root))

    def _warn_of_settings_without_effect(self, place: Path) -> None:
        for name in SPLIT_SETTINGS:
            if name in self.settings.model_fields_set:
                text = f"data.{name} has no effect: LEAF has split what is in {place} into train and test"
                warnings.warn(text, FedsimWarning, stacklevel=4)

    def _cache_name(self, root: Path) -> str:
        files = self._files(root)
        return cache_name(
            self.name, [path for side in files for path in side], [len(side) for side in files], self.repair(root)
        )
