"""EuroSAT, the RGB version: satellite images in a folder for each class."""

import warnings
from pathlib import Path

from pydantic import Field
from torch import Tensor

from fedsim.data.images.class_folders import (
    LabelledFiles,
    draw_for_testing,
    labelled_files,
    warn_of_what_is_left_out,
)
from fedsim.data.images.image_files import decode_images, survey_images
from fedsim.data.samples import Splits
from fedsim.data.sources.base import DataSource, Outline, outline, sources
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
class EuroSat(DataSource):
    """27 000 satellite images of 64 x 64 pixels in 10 classes of land use; no official split, so ours is drawn."""

    class Settings(Schema):
        test_share: float = Field(0.2, gt=0, lt=1, description="share of each class that is held out for testing")
        split_seed: int = Field(0, ge=0, description="of the draw of what is held out, the same for all runs")

    reads_root = True
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

    def survey(self, root: Path | None) -> Outline | None:
        super().survey(root)
        assert root is not None
        found, for_test = self._files(root)
        survey_images(found.files, name=self.name, short_side=None, repair=self._replace(root))
        return outline(found.labels, {}, for_test)

    def _files(self, root: Path) -> tuple[LabelledFiles, Tensor]:
        """All files, and which are for testing."""
        folder, repair = self._folder(root), self._replace(root)
        found = labelled_files(folder, repair)
        if found.class_names != CLASSES:
            other = sorted(set(found.class_names) - set(CLASSES))
            raise ConfigError("root", f"{folder} holds other folders too: {', '.join(other)}", "move them")
        warn_of_what_is_left_out(found, folder)
        if len(found.files) != PUBLISHED:
            text = f"{folder} holds {len(found.files)} images, not the {PUBLISHED} that were published"
            warnings.warn(text, FedsimWarning, stacklevel=3)
        return found, draw_for_testing(found, self.settings.test_share, self.settings.split_seed, repair)

    def _replace(self, root: Path) -> str:
        return f"remove what is damaged; then {self.repair(root)}"

    def load(self, root: Path | None) -> Splits:
        assert root is not None
        found, for_test = self._files(root)
        samples, shape, one_size = decode_images(
            found.files, found.labels, {}, name=self.name, short_side=None, repair=self._replace(root)
        )
        return Splits.divided(
            samples,
            for_test,
            class_names=CLASSES,
            input_shape=shape,
            one_size=one_size,
        )
