"""CINIC-10: CIFAR-10 with images of ImageNet, in folders of PNG files."""

from pathlib import Path

import torch
from pydantic import Field

from fedsim.data.images.channel_statistics import Normalization
from fedsim.data.images.class_folders import labelled_files, warn_of_what_is_left_out
from fedsim.data.sources.base import sources
from fedsim.data.sources.separate_images import FoundImages, SeparateImages
from fedsim.data.storage.fetch import fetch
from fedsim.errors import ConfigError
from fedsim.files import folder_exists
from fedsim.registry import Reference
from fedsim.settings import Schema

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PLACES = ("CINIC-10", "cinic-10", "cinic10", ".")
URL = "https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz"
MD5 = "6ee4d0c996905fe93221de577967a372"


@sources.register(
    "cinic10",
    Reference(
        authors="Darlow, Crowley, Antoniou and Storkey",
        title="CINIC-10 is not ImageNet or CIFAR-10",
        year=2018,
        venue="Report EDI-INF-ANC-1802, University of Edinburgh",
        url="https://arxiv.org/abs/1810.03505",
    ),
)
class Cinic10(SeparateImages):
    """270 000 photographs of 32 x 32 pixels in CIFAR-10's classes: a third each to train, to validate, to test."""

    class Settings(Schema):
        with_validation: bool = Field(
            False, description="train on the validation images, too; otherwise they are not used"
        )

    settings: Settings

    @property
    def published_statistics(self) -> Normalization | None:
        if self.settings.with_validation:
            return None  # the published ones are of the training images alone
        return (0.47889522, 0.47227842, 0.43047404), (0.24205776, 0.23828046, 0.25874835)

    def check(self, root: Path | None) -> None:
        super().check(root)
        assert root is not None
        self._folders(root)

    def fetch(self, root: Path) -> None:
        from torchvision.datasets.utils import download_and_extract_archive

        def download(place: str) -> None:
            download_and_extract_archive(URL, place, f"{place}/{PLACES[0]}", md5=MD5)

        fetch(root, PLACES[0], download, self.name)

    def _folders(self, root: Path) -> list[Path]:
        """Of the images to train, then of those to test."""
        names = ["train", *(["valid"] if self.settings.with_validation else []), "test"]
        place = next((place for place in PLACES if folder_exists(root / place / names[0])), PLACES[0])
        folders = [root / place / name for name in names]
        for folder in folders:
            for kind in (folder, *(folder / name for name in CLASSES)):
                if not folder_exists(kind):
                    raise ConfigError("root", f"there is no folder {kind}", self.repair(root))
        return folders

    def find(self, root: Path) -> FoundImages:
        folders = self._folders(root)
        found = [labelled_files(folder, self.replace(root)) for folder in folders]
        for folder, one in zip(folders, found, strict=True):
            if one.class_names != CLASSES:
                other = sorted(set(one.class_names) - set(CLASSES))
                raise ConfigError("root", f"{folder} holds other folders too: {', '.join(other)}", "move them")
            warn_of_what_is_left_out(one, folder)
        files = [file for one in found for file in one.files]
        for_test = torch.arange(len(files)) >= len(files) - len(found[-1].files)
        return FoundImages(files, torch.cat([one.labels for one in found]), for_test, CLASSES)
