"""Any folder of images, in a subfolder for each class."""

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from fedsim.data.images.class_folders import LabelledFiles, draw_for_testing, labelled_files, warn_of_what_is_left_out
from fedsim.data.images.image_files import ShortSide
from fedsim.data.images.image_table import columns_of_images, warn_of_other_tables
from fedsim.data.sources.base import sources
from fedsim.data.sources.separate_images import FoundImages, SeparateImages
from fedsim.errors import ConfigError
from fedsim.settings import Schema

TRAIN, TESTS = "train", ("test", "val", "validation", "valid")


@sources.register("image_folder")
class ImageFolder(SeparateImages):
    """Images in ``train/<class>/`` and ``test/<class>/`` (or ``val``), or just in ``<class>/``.

    A file ``metadata.csv`` beside them may hold more about each image, for the partitioner ``natural``: a column
    ``file_name`` (path from ``root``) and any others.
    """

    class Settings(Schema):
        short_side: Annotated[int, Field(ge=8)] | Literal["auto"] | None = Field(
            "auto",
            description="pixels above which the shorter side is scaled down to them; null: images stay as they are; "
            "auto: so they do where all have one size, else 256",
        )
        test_share: float = Field(
            0.2, gt=0, lt=1, description="share of each class that is held out where there is no folder for testing"
        )
        split_seed: int = Field(0, ge=0, description="of the draw of what is held out, the same for all runs")

    smaller = "set data.short_side to fewer pixels"
    settings: Settings

    @property
    def short_side(self) -> ShortSide:
        return self.settings.short_side

    def repair(self, root: Path | None) -> str:
        return f"put images into {root or 'FOLDER'}/train/<class>/ and {root or 'FOLDER'}/test/<class>/"

    def replace(self, root: Path) -> str:
        return "replace or remove it"

    def find(self, root: Path) -> FoundImages:
        found, for_test = self._files(root)
        return FoundImages(
            found.files, found.labels, for_test, found.class_names, columns_of_images(root, found.files)
        )

    def _files(self, root: Path) -> tuple[LabelledFiles, torch.Tensor]:
        """All files, and which are for testing; one warning for what is left out."""
        train_folder = root / TRAIN if (root / TRAIN).is_dir() else root
        test_folder = next((root / name for name in TESTS if (root / name).is_dir()), None)
        train = labelled_files(train_folder, self.repair(root))
        if train_folder == root:
            self._require_classes(root, train.class_names)
        warn_of_other_tables([root, train_folder, *([test_folder] if test_folder else [])])
        if train_folder == root or test_folder is None:
            warn_of_what_is_left_out(train, train_folder)
            return train, self._held_out(train, root)
        both = self._with_tests(train, train_folder, test_folder)
        warn_of_what_is_left_out(both, root)
        return both, torch.arange(len(both.files)) >= len(train.files)

    def _require_classes(self, root: Path, names: tuple[str, ...]) -> None:
        """ConfigError if the folders are not classes but the sides, under names that are not expected."""
        if {name.lower() for name in names} <= {TRAIN, *TESTS, "training", "testing"}:
            problem = f"the folders {', '.join(names)} in {root} are no classes"
            raise ConfigError("root", problem, f"call them {TRAIN} and {TESTS[0]}")

    def _held_out(self, found: LabelledFiles, root: Path) -> torch.Tensor:
        settings = self.settings
        remedy = f"put images for testing into {root}/{TRAIN}/<class>/ and {root}/{TESTS[0]}/<class>/, or add some"
        return draw_for_testing(found, settings.test_share, settings.split_seed, remedy)

    def _with_tests(self, train: LabelledFiles, train_folder: Path, test_folder: Path) -> LabelledFiles:
        """The training files, then the test files, whose classes are numbered as those to train."""
        test = labelled_files(test_folder, self.repair(test_folder.parent), least=1)
        unknown = sorted(set(test.class_names) - set(train.class_names))
        if unknown:
            problem = f"{test_folder} has a class '{unknown[0]}' that {train_folder} has not"
            raise ConfigError("root", problem, "give both the same classes")
        translated = torch.tensor([train.class_names.index(name) for name in test.class_names])[test.labels]
        return LabelledFiles(
            train.files + test.files,
            torch.cat([train.labels, translated]),
            train.class_names,
            train.left_out + test.left_out,
            train.of_no_class + test.of_no_class,
        )
