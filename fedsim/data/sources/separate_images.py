"""What sources have in common whose images come one in a file."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from fedsim.data.images.image_files import ShortSide, decode_images, survey_images
from fedsim.data.samples import Columns, Splits
from fedsim.data.sides import check_sides
from fedsim.data.sources.base import DataSource, Outline, outline


@dataclass(frozen=True)
class FoundImages:
    """Image files, and what is known of each before it is decoded.

    Attributes:
        labels: classes [N].
        for_test: which are for testing [N].
        columns: further facts about each.
    """

    files: Sequence[Path]
    labels: Tensor
    for_test: Tensor
    class_names: tuple[str, ...]
    columns: Columns = field(default_factory=dict)


class SeparateImages(DataSource):
    """Image files, decoded once; a subclass finds them."""

    reads_root = True

    smaller: ClassVar[str] = ""
    """What the user does to store less of each image, in words; empty if there is no such setting."""

    @property
    def short_side(self) -> ShortSide:
        """Pixels above which shorter sides are scaled down to it, see :func:`stored_sizes`."""
        return None

    @abstractmethod
    def find(self, root: Path) -> FoundImages:
        """All files; a FedsimWarning for what is left out.

        Raises:
            ConfigError: folders or tables do not fit.
        """
        raise NotImplementedError

    def replace(self, root: Path) -> str:
        """What the user does about a damaged file, in words."""
        return f"remove what is damaged; then {self.repair(root)}"

    def survey(self, root: Path | None) -> Outline | None:
        super().survey(root)
        assert root is not None
        found = self.find(root)
        check_sides(found.labels[~found.for_test], found.labels[found.for_test], found.class_names)
        survey_images(
            found.files,
            name=self.name,
            short_side=self.short_side,
            repair=self.replace(root),
            smaller=self.smaller,
        )
        return outline(found.labels, found.columns, found.for_test)

    def load(self, root: Path | None) -> Splits:
        self.check(root)
        assert root is not None
        found = self.find(root)
        samples, shape, one_size = decode_images(
            found.files,
            found.labels,
            found.columns,
            name=self.name,
            short_side=self.short_side,
            repair=self.replace(root),
            smaller=self.smaller,
        )
        return Splits.divided(
            samples, found.for_test, class_names=found.class_names, input_shape=shape, one_size=one_size
        )
