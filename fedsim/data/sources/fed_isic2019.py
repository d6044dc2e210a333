"""Fed-ISIC2019: skin lesions from six hospitals, as FLamby preprocesses and splits them."""

from pathlib import Path

import torch
from pydantic import Field

from fedsim.data.image_files import decode_images
from fedsim.data.samples import Splits, Subset
from fedsim.data.sources.base import DataSource, sources
from fedsim.data.sources.isic2019_preparation import IMAGES, prepare_images
from fedsim.data.sources.isic2019_tables import CLASSES, OWN_SPLIT, read_split_rows, split_file
from fedsim.errors import ConfigError
from fedsim.files import folder_exists
from fedsim.settings import Schema


@sources.register("fed_isic2019")
class FedIsic2019(DataSource):
    """23 247 dermatoscopic images of 8 classes from 6 centres (column ``center``); very unbalanced."""

    class Settings(Schema):
        own_fold: bool = Field(
            False, description=f"use {OWN_SPLIT}, which `prepare` draws, instead of FLamby's official train/test fold"
        )

    reads_root = True
    settings: Settings

    def check(self, root: Path | None) -> None:
        super().check(root)
        assert root is not None
        split_file(root, own_fold=self.settings.own_fold)
        if not (root / IMAGES).is_dir():
            raise ConfigError("root", f"there is no folder {root / IMAGES}", self.repair(root))

    def repair(self, root: Path | None) -> str:
        own = " own_fold=true" if self.settings.own_fold else ""
        command = f"python -m fedsim.prepare {self.name} --root {root or 'FOLDER'}{own}"
        return f"`{command}` makes it from the raw ISIC 2019 files"

    def prepare(self, root: Path | None) -> None:
        if root is not None and folder_exists(root):
            prepare_images(root, own_fold=self.settings.own_fold)
        super().prepare(root)

    def load(self, root: Path | None) -> Splits:
        assert root is not None
        self.check(root)
        rows = read_split_rows(split_file(root, own_fold=self.settings.own_fold))
        samples, shape, one_size = decode_images(
            [root / IMAGES / f"{row['image']}.jpg" for row in rows],
            torch.tensor([int(row["target"]) for row in rows]),
            {"center": [row["center"] for row in rows]},
            name=self.name,
            short_side=None,
            repair=f"remove it; then {self.repair(root)}",
        )
        for_test = torch.tensor([row["fold"] == "test" for row in rows])
        return Splits(
            train=Subset(samples, (~for_test).nonzero().flatten()),
            test=Subset(samples, for_test.nonzero().flatten()),
            class_names=CLASSES,
            input_shape=shape,
            one_size=one_size,
        )
