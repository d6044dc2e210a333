"""Fed-ISIC2019: skin lesions from six hospitals, as FLamby preprocesses and splits them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from pydantic import Field

from fedsim.data.images.image_files import decode_images, survey_images
from fedsim.data.samples import Splits
from fedsim.data.sides import check_sides
from fedsim.data.sources.base import DataSource, Outline, outline, sources
from fedsim.data.sources.isic2019_preparation import IMAGES, prepare_images
from fedsim.data.sources.isic2019_tables import CLASSES, OWN_SPLIT, read_split_rows, split_file
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

    def prepare(self, root: Path | None) -> Splits:
        if root is not None and folder_exists(root):
            prepare_images(root, own_fold=self.settings.own_fold)
        return super().prepare(root)

    def survey(self, root: Path | None) -> Outline | None:
        super().survey(root)
        assert root is not None
        rows = read_split_rows(split_file(root, own_fold=self.settings.own_fold))
        missing = [file.name for file in self._files(root, rows) if not file.is_file()]
        if missing:
            problem = f"{len(missing)} images of the split are not in {root / IMAGES} ({missing[0]})"
            raise ConfigError("root", problem, self.repair(root))
        labels = torch.tensor([int(row["target"]) for row in rows], dtype=torch.int64)
        for_test = torch.tensor([row["fold"] == "test" for row in rows], dtype=torch.bool)
        check_sides(labels[~for_test], labels[for_test], CLASSES)
        survey_images(self._files(root, rows), name=self.name, short_side=None, repair=self._replace(root))
        return outline(labels, {"center": [row["center"] for row in rows]}, for_test)

    def _files(self, root: Path, rows: Sequence[Mapping[str, str]]) -> list[Path]:
        return [root / IMAGES / f"{row['image']}.jpg" for row in rows]

    def _replace(self, root: Path) -> str:
        return f"remove it; then {self.repair(root)}"

    def load(self, root: Path | None) -> Splits:
        assert root is not None
        self.check(root)
        rows = read_split_rows(split_file(root, own_fold=self.settings.own_fold))
        samples, shape, one_size = decode_images(
            self._files(root, rows),
            torch.tensor([int(row["target"]) for row in rows]),
            {"center": [row["center"] for row in rows]},
            name=self.name,
            short_side=None,
            repair=self._replace(root),
        )
        for_test = torch.tensor([row["fold"] == "test" for row in rows])
        return Splits.divided(
            samples,
            for_test,
            class_names=CLASSES,
            input_shape=shape,
            one_size=one_size,
        )
