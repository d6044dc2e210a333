"""EuroSAT, the RGB version: satellite images in a folder for each class."""

import warnings
from pathlib import Path

from pydantic import Field

from fedsim.data.images.class_folders import draw_for_testing, labelled_files, warn_of_what_is_left_out
from fedsim.data.sources.base import sources
from fedsim.data.sources.separate_images import FoundImages, SeparateImages
from fedsim.data.storage.fetch import fetch
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.registry import Reference
from fedsim.settings import Schema

CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)

PUBLISHED = 27_000
"""Images in the whole set."""

PLACES = ("eurosat/2750", "2750", "EuroSAT_RGB", "EuroSAT/2750", ".")
"""Where the class folders lie: as torchvision unpacks them, as the two archives unpack themselves, or right there."""


@sources.register(
    "eurosat",
    Reference(
        authors="Helber, Bischke, Dengel and Borth",
        title="EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover Classification",
        year=2019,
        venue="IEEE Journal of Selected Topics in Applied Earth Observations and Remote Sensing",
        url="https://doi.org/10.1109/JSTARS.2019.2918242",
    ),
)
class EuroSat(SeparateImages):
    """27 000 satellite images of 64 x 64 pixels in 10 classes of land use; no official split, so ours is drawn."""

    class Settings(Schema):
        test_share: float = Field(0.2, gt=0, lt=1, description="share of each class that is held out for testing")
        split_seed: int = Field(0, ge=0, description="of the draw of what is held out, the same for all runs")

    settings: Settings

    def check(self, root: Path | None) -> None:
        super().check(root)
        assert root is not None
        self._folder(root)

    def fetch(self, root: Path) -> None:
        import torchvision

        fetch(root, "eurosat", lambda place: torchvision.datasets.EuroSAT(place, download=True), self.name)

    def _folder(self, root: Path) -> Path:
        for place in PLACES:
            if (root / place / CLASSES[0]).is_dir():
                missing = [name for name in CLASSES if not (root / place / name).is_dir()]
                if missing:
                    raise ConfigError("root", f"there is no folder {root / place / missing[0]}", self.repair(root))
                return root / place
        raise ConfigError("root", f"there is no folder {root / PLACES[0] / CLASSES[0]}", self.repair(root))

    def find(self, root: Path) -> FoundImages:
        folder, repair = self._folder(root), self.replace(root)
        found = labelled_files(folder, repair)
        if found.class_names != CLASSES:
            other = sorted(set(found.class_names) - set(CLASSES))
            raise ConfigError("root", f"{folder} holds other folders too: {', '.join(other)}", "move them")
        warn_of_what_is_left_out(found, folder)
        if len(found.files) != PUBLISHED:
            text = f"{folder} holds {len(found.files)} images, not the {PUBLISHED} that were published"
            warnings.warn(text, FedsimWarning, stacklevel=3)
        for_test = draw_for_testing(found, self.settings.test_share, self.settings.split_seed, repair)
        return FoundImages(found.files, found.labels, for_test, CLASSES)
