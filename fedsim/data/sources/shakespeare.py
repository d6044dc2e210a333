"""Shakespeare: the next character of what a role says."""

import warnings
from pathlib import Path

import torch
from pydantic import Field

from fedsim.data.formats.leaf import json_files
from fedsim.data.samples import Splits
from fedsim.data.sources.base import DataSource, sources
from fedsim.data.storage.cache import cached_arrays
from fedsim.data.storage.converted import cache_name, is_converted
from fedsim.data.text.characters import ALPHABET, NAMES
from fedsim.data.text.role_texts import ARRAYS, convert_leaf, read_play
from fedsim.data.text.role_windows import RoleWindows, TextWindows, largest_roles, split_by_time
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.files import file_exists, folder_exists
from fedsim.machine import require_memory
from fedsim.registry import Reference
from fedsim.settings import Schema

PLAY, WHOLE = "input.txt", "all_data"

NUMBER = 8
"""Bytes of a label."""


@sources.register(
    "shakespeare",
    Reference(
        authors="McMahan et al.",
        title="Communication-Efficient Learning of Deep Networks from Decentralized Data",
        year=2017,
        venue="AISTATS",
        url="https://arxiv.org/abs/1602.05629",
    ),
    Reference(
        authors="Caldas et al.",
        title="LEAF: A Benchmark for Federated Settings",
        year=2018,
        venue="arXiv preprint",
        url="https://arxiv.org/abs/1812.01097",
    ),
)
class Shakespeare(DataSource):
    """The next of 80 characters in what a role says (column ``role``); from LEAF's files or from ``input.txt``.

    LEAF's folders ``train`` and ``test`` are taken as they are; ``all_data``, or a play as plain text, is split by
    time within each role, as LEAF does. Characters outside LEAF's alphabet count as its last one, as there.
    """

    class Settings(Schema):
        length: int = Field(80, ge=1, le=10**6, description="characters of a sample; LEAF's files have 80")
        per_token: bool = Field(
            False, description="predict the character after each position, and not only the one after the last"
        )
        stride: int | None = Field(
            None,
            ge=1,
            description="characters from one sample of a role to its next; null: 1, with per_token the length",
        )
        roles: int | None = Field(None, ge=1, description="only so many roles, those with most text; null: all")
        test_share: float = Field(0.1, gt=0, lt=1, description="share of each role's text, its end, to test")

    reads_root = True
    settings: Settings

    def repair(self, root: Path | None) -> str:
        command = "`./preprocess.sh -s niid --sf 1.0 -k 0 -t sample`"
        return f"put data/train and data/test there, which {command} makes in LEAF's data/shakespeare, or an {PLAY}"

    def check(self, root: Path | None) -> None:
        super().check(root)
        assert root is not None
        if not self._sides(root) and not file_exists(root / PLAY):
            problem = f"{root} has neither folders train and test, nor {WHOLE}, nor {PLAY}"
            raise ConfigError("root", problem, self.repair(root))

    def sketch(self, root: Path | None) -> Splits | None:
        self.check(root)
        assert root is not None
        sides = self._sides(root)
        return self.load(root) if not sides or is_converted(self._cache_name(root, sides)) else None

    def load(self, root: Path | None) -> Splits:
        self.check(root)
        assert root is not None
        train, test = map(self._samples, self._windows(root))
        return Splits(
            train=train,
            test=test,
            class_names=NAMES,
            input_shape=(self.settings.length,),
            vocabulary=len(ALPHABET),
        )

    @property
    def _stride(self) -> int:
        return self.settings.stride or (self.settings.length if self.settings.per_token else 1)

    def _samples(self, windows: RoleWindows) -> TextWindows:
        settings = self.settings
        if settings.per_token:
            what = f"the labels of {len(windows.starts)} samples of {settings.length} characters"
            needed = 2 * NUMBER * settings.length * len(windows.starts)  # with the places that they are taken from
            require_memory(needed, "stride", what, "take a larger one")
        return windows.samples(settings.length, per_token=settings.per_token)

    def _windows(self, root: Path) -> tuple[RoleWindows, RoleWindows]:
        """Those to train and those to test."""
        settings, sides = self.settings, self._sides(root)
        if len(sides) < 2:
            play = root / PLAY
            whole = self._converted(root, sides)[0] if sides else read_play(play, settings.length, self.repair(root))
            return split_by_time(self._of_most_text(whole), settings.length, self._stride, settings.test_share)
        windows, end = self._converted(root, sides)
        windows = self._of_most_text(windows)
        for_test = windows.starts >= end
        return windows.only(~for_test).every(self._stride), windows.only(for_test).every(self._stride)

    def _converted(self, root: Path, sides: list[list[Path]]) -> tuple[RoleWindows, int]:
        """All windows of LEAF's files, and where in their text the first side ends."""
        length, repair = self.settings.length, f"remove it; then {self.repair(root)}"
        arrays = cached_arrays(
            self._cache_name(root, sides), ARRAYS, lambda folder: convert_leaf(sides, length, folder, repair)
        )
        roles = torch.from_numpy(arrays["roles"]).long()
        starts = torch.arange(len(roles)) * (length + 1)
        windows = RoleWindows(torch.from_numpy(arrays["text"]), starts, roles, arrays["names"].tolist())
        return windows, int(arrays["ends"][0]) * (length + 1)

    def _of_most_text(self, windows: RoleWindows) -> RoleWindows:
        wanted, present = self.settings.roles, len(windows.roles.unique())
        if wanted is None:
            return windows
        if wanted > present:
            raise ConfigError("roles", f"{wanted}, but the data have {present}", f"take at most {present}")
        return windows.only(largest_roles(windows.roles, wanted))

    def _sides(self, root: Path) -> list[list[Path]]:
        """LEAF's files to train and to test; all of them, if they are not split; none, if there are none."""
        for place in (root, root / "data"):
            if folder_exists(place / "train") and folder_exists(place / "test"):
                if "test_share" in self.settings.model_fields_set:
                    text = f"data.test_share has no effect: {place} is split into train and test"
                    warnings.warn(text, FedsimWarning, stacklevel=4)
                return [json_files(place / side, self.repair(root)) for side in ("train", "test")]
        for place in (root, root / "data"):
            if folder_exists(place / WHOLE):
                return [json_files(place / WHOLE, self.repair(root))]
        return []

    def _cache_name(self, root: Path, sides: list[list[Path]]) -> str:
        facts = (self.settings.length, [len(side) for side in sides])
        return cache_name(self.name, [path for side in sides for path in side], facts, self.repair(root))
