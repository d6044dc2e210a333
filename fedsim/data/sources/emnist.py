"""EMNIST: letters and digits, from the IDX files that its authors publish for each of six splits."""

import string
from pathlib import Path
from typing import Literal

from pydantic import Field

from fedsim.data.sources.base import sources
from fedsim.data.sources.idx_images import IdxImages
from fedsim.data.storage.fetch import fetch
from fedsim.registry import Reference
from fedsim.settings import Schema

MERGED = "abdefghnqrt"
"""Small letters that are classes of their own where those that look like capitals are merged with them."""

CLASSES = {
    "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "bymerge": string.digits + string.ascii_uppercase + MERGED,
    "balanced": string.digits + string.ascii_uppercase + MERGED,
    "letters": string.ascii_lowercase,
    "digits": string.digits,
    "mnist": string.digits,
}


@sources.register(
    "emnist",
    Reference(
        authors="Cohen, Afshar, Tapson and van Schaik",
        title="EMNIST: Extending MNIST to handwritten letters",
        year=2017,
        venue="IJCNN",
        url="https://arxiv.org/abs/1702.05373",
    ),
)
class Emnist(IdxImages):
    """Handwritten letters and digits of 28 x 28 pixels, up to 814 255 in 62 classes.

    The files hold each image with rows and columns interchanged (as torchvision shows it); here it is upright, as
    MNIST's. The labels 1 to 26 of ``letters`` are the classes 0 to 25.
    """

    class Settings(Schema):
        split: Literal["balanced", "letters", "byclass", "bymerge", "digits", "mnist"] = Field(
            "balanced", description="which of the six splits that are published"
        )

    settings: Settings
    folder = "EMNIST"
    transposed = True

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(CLASSES[self.settings.split])

    @property
    def prefixes(self) -> tuple[str, str]:
        return f"emnist-{self.settings.split}-train", f"emnist-{self.settings.split}-test"

    @property
    def first_label(self) -> int:
        return 1 if self.settings.split == "letters" else 0

    def fetch(self, root: Path) -> None:
        import torchvision

        def download(place: str) -> None:
            torchvision.datasets.EMNIST(place, split=self.settings.split, download=True)  # of all splits

        fetch(root, self.folder, download, self.name)
