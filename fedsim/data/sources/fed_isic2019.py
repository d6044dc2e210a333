"""Fed-ISIC2019: skin lesions from six hospitals, as FLamby preprocesses and splits them."""

from pathlib import Path

import torch
from pydantic import Field

from fedsim.data.samples import Splits
from fedsim.data.sources.base import sources
from fedsim.data.sources.isic2019_preparation import IMAGES, prepare_images
from fedsim.data.sources.isic2019_tables import CLASSES, OWN_SPLIT, read_split_rows, split_file
from fedsim.data.sources.separate_images import FoundImages, SeparateImages
from fedsim.errors import ConfigError
from fedsim.files import folder_exists
from fedsim.registry import Reference
from fedsim.settings import Schema


@sources.register(
    "fed_isic2019",
    Reference(
        authors="Ogier du Terrail et al.",
        title="FLamby: Datasets and Benchmarks for Cross-Silo Federated Learning in Realistic Healthcare Settings",
        year=2022,
        venue="NeurIPS Datasets and Benchmarks",
        url="https://arxiv.org/abs/2210.04620",
    ),
    Reference(
        authors="Tschandl, Rosendahl and Kittler",
        title="The HAM10000 dataset, a large collection of multi-source dermatoscopic images of common "
        "pigmented skin lesions",
        year=2018,
        venue="Scientific Data",
        url="https://doi.org/10.1038/sdata.2018.161",
    ),
    Reference(
        authors="Codella et al.",
        title="Skin Lesion Analysis Toward Melanoma Detection: A Challenge at the 2017 International "
        "Symposium on Biomedical Imaging (ISBI), Hosted by the International Skin Imaging "
        "Collaboration (ISIC)",
        year=2018,
        venue="ISBI",
        url="https://arxiv.org/abs/1710.05006",
    ),
    Reference(
        authors="Combalia et al.",
        title="BCN20000: Dermoscopic Lesions in the Wild",
        year=2019,
        venue="arXiv preprint",
        url="https://arxiv.org/abs/1908.02288",
    ),
)
class FedIsic2019(SeparateImages):
    """23 247 dermatoscopic images of 8 classes from 6 centres (column ``center``); very unbalanced."""

    class Settings(Schema):
        own_fold: bool = Field(
            False, description=f"use {OWN_SPLIT}, which `prepare` draws, instead of FLamby's official train/test fold"
        )

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

    def prepare(self, root: Path | None) -> Splits:
        if root is not None and folder_exists(root):
            prepare_images(root, own_fold=self.settings.own_fold)
        return super().prepare(root)

    def find(self, root: Path) -> FoundImages:
        rows = read_split_rows(split_file(root, own_fold=self.settings.own_fold))
        files = [root / IMAGES / f"{row['image']}.jpg" for row in rows]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            problem = f"{len(missing)} of {len(files)} images of the split are not in {root / IMAGES} ({missing[0]})"
            raise ConfigError("root", problem, self.repair(root))
        return FoundImages(
            files,
            torch.tensor([int(row["target"]) for row in rows], dtype=torch.int64),
            torch.tensor([row["fold"] == "test" for row in rows], dtype=torch.bool),
            CLASSES,
            {"center": [row["center"] for row in rows]},
        )

    def replace(self, root: Path) -> str:
        return f"remove it; then {self.repair(root)}"
