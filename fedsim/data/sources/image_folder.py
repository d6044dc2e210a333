"""Any folder of images, in a subfolder for each class."""

from pathlib import Path

import torch
from pydantic import Field

from fedsim.data.class_folders import LabelledFiles, held_out, labelled_files
from fedsim.data.image_files import decode_images
from fedsim.data.samples import Columns, Splits, Subset
from fedsim.data.sources.base import DataSource, sources
from fedsim.data.table import read_table
from fedsim.errors import ConfigError
from fedsim.settings import Schema

TRAIN, TESTS = "train", ("test", "val", "validation", "valid")
TABLE = "metadata.csv"


@sources.register("image_folder")
class ImageFolder(DataSource):
    """Images in ``train/<class>/`` and ``test/<class>/`` (or ``val``), or just in ``<class>/``.

    A file ``metadata.csv`` beside them may hold more about each image, for the partitioner ``natural``: a column
    ``file_name`` (path from ``root``) and any others.
    """

    class Settings(Schema):
        short_side: int | None = Field(
            256, ge=8, description="pixels to which the shorter side is scaled; null: as they are"
        )
        test_share: float = Field(
            0.2, gt=0, lt=1, description="share of each class that is held out where there is no folder for testing"
        )
        split_seed: int = Field(0, ge=0, description="of the draw of what is held out, the same for all runs")

    reads_root = True
    settings: Settings

    def repair(self, root: Path | None) -> str:
        return f"put images into {root or 'FOLDER'}/train/<class>/ and {root or 'FOLDER'}/test/<class>/"

    def load(self, root: Path | None) -> Splits:
        assert root is not None
        self.check(root)
        found, for_test = self._files(root)
        samples, shape, one_size = decode_images(
            found.files,
            found.labels,
            self._columns(root, found),
            name=self.name,
            short_side=self.settings.short_side,
            repair="replace or remove it",
        )
        return Splits(
            train=Subset(samples, (~for_test).nonzero().flatten()),
            test=Subset(samples, for_test.nonzero().flatten()),
            class_names=found.class_names,
            input_shape=shape,
            one_size=one_size,
        )

    def _files(self, root: Path) -> tuple[LabelledFiles, torch.Tensor]:
        """All files, and which are for testing."""
        if not (root / TRAIN).is_dir():
            found = labelled_files(root, self.repair(root))
            return found, held_out(found.labels, self.settings.test_share, self.settings.split_seed)
        test_folder = next((root / name for name in TESTS if (root / name).is_dir()), None)
        train = labelled_files(root / TRAIN, self.repair(root))
        if test_folder is None:
            return train, held_out(train.labels, self.settings.test_share, self.settings.split_seed)
        test = labelled_files(test_folder, self.repair(root))
        unknown = sorted(set(test.class_names) - set(train.class_names))
        if unknown:
            problem = f"{test_folder} has a class '{unknown[0]}' that {root / TRAIN} has not"
            raise ConfigError("root", problem, "give both the same classes")
        translated = torch.tensor([train.class_names.index(name) for name in test.class_names])[test.labels]
        both = LabelledFiles(train.files + test.files, torch.cat([train.labels, translated]), train.class_names)
        return both, torch.arange(len(both.files)) >= len(train.files)

    def _columns(self, root: Path, found: LabelledFiles) -> Columns:
        path = root / TABLE
        if not path.is_file():
            return {}
        rows = {row["file_name"]: row for row in read_table(path, ["file_name"], "fix or remove it")}
        names = [file.relative_to(root).as_posix() for file in found.files]
        missing = next((name for name in names if name not in rows), None)
        if missing is not None:
            raise ConfigError("root", f"{path} has no row for {missing}", "add one, or remove the table")
        others = [name for name in rows[names[0]] if name != "file_name"]
        return {column: [rows[name][column] for name in names] for column in others}
