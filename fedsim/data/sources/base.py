"""What a data set is: a source of training and test samples."""

import warnings
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fedsim.data.images.channel_statistics import ChannelStatistics, Normalization, are_images, cached_statistics
from fedsim.data.samples import Columns, Samples, Splits, Subset, TensorSamples
from fedsim.data.sides import check_splits
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.files import file_exists, folder_exists
from fedsim.registry import Component, Registry

Outline = tuple[Samples, Samples]
"""Training and test samples whose labels and columns are known, but not their inputs."""


def outline(labels: Tensor, columns: Columns, for_test: Tensor) -> Outline:
    """Both sides of samples that are not decoded.

    Args:
        labels: classes of all samples [N].
        columns: further facts about them.
        for_test: which are for testing [N].
    """
    samples = TensorSamples(torch.empty(len(labels), 0), labels, columns)
    return Subset(samples, (~for_test).nonzero().flatten()), Subset(samples, for_test.nonzero().flatten())


class DataSource(Component):
    """Where samples come from; a subclass implements :meth:`load`, and states :attr:`published_statistics` if any."""

    reads_root: ClassVar[bool] = False
    """Whether the data lie in a folder that the user names by ``data.root``."""

    accepts_file: ClassVar[bool] = False
    """Whether ``data.root`` may also be the one file of the data."""

    def check(self, root: Path | None) -> None:
        """Raise ConfigError if the data are not where they should be; called before any rank starts work."""
        if self.reads_root and (root is None or not self._exists(root)):
            what = "file or folder" if self.accepts_file else "folder"
            problem = "missing" if root is None else f"there is no {what} {root}"
            raise ConfigError("root", problem, f"name the {what} that holds {self.name}; {self.repair(root)}")
        if root is not None and not self.reads_root:
            warnings.warn(f"data.root has no effect: {self.name} needs no folder", FedsimWarning, stacklevel=2)

    def _exists(self, root: Path) -> bool:
        return folder_exists(root) or (self.accepts_file and file_exists(root))

    def repair(self, root: Path | None) -> str:
        """What the user does about missing or damaged data, in words."""
        return f"`python -m fedsim.prepare {self.name} --root {root or 'FOLDER'}` fetches, checks and decodes it"

    def survey(self, root: Path | None) -> Outline | None:
        """Look at the data without decoding any, for ``--check``: what :meth:`load` would warn of or refuse at once.

        Returns:
            Training and test samples without their inputs, where they are known by then.

        Raises:
            ConfigError: folders or tables do not fit.
        """
        self.check(root)
        return None

    def sketch(self, root: Path | None) -> Splits | None:
        """What :meth:`load` gives, but for the values of the inputs, where it takes no time; for ``--check``."""
        return None

    def fetch(self, root: Path) -> None:
        """Fetch the data, which are not there, if they can be fetched.

        Raises:
            ConfigError: there is no network, or a folder of the data's name that is not whole.
        """

    def prepare(self, root: Path | None) -> Splits:
        """Fetch what can be fetched, and check, decode and measure everything, so that no run has to.

        Raises:
            ConfigError: the data are missing and cannot be fetched, or damaged.
        """
        try:
            self.check(root)
        except ConfigError:
            if root is None:
                raise
            self.fetch(root)
            self.check(root)
        with self.own_draws(lambda: 0, "load"):
            splits = self.load(root)
        check_splits(splits)
        self.statistics(splits)
        return splits

    @property
    def published_statistics(self) -> Normalization | None:
        """Mean and standard deviation of each channel as they are published; None if they are to be computed."""
        return None

    def statistics(self, splits: Splits) -> ChannelStatistics | None:
        """What images are normalised by where the model expects nothing: the published numbers, else computed ones.

        They are computed from all pixels of the training images, and cached where the images are; data that are no
        images have none.
        """
        if not are_images(splits.train):
            return None
        published = self.published_statistics
        if published is not None and len(published[0]) == splits.input_shape[0]:
            origin = f"of {self.name} (published)"
        else:
            published = cached_statistics(splits.train)
            origin = f"of {self.name} (its {len(splits.train)} training images)"
        mean, std = published
        return ChannelStatistics(tuple(mean), tuple(std), origin)

    @abstractmethod
    def load(self, root: Path | None) -> Splits:
        """The data set; ``root`` is the folder named by ``data.root``.

        Raises:
            ConfigError: a file is missing or damaged; the message names it and what repairs it.
        """
        raise NotImplementedError


sources = Registry("data set", DataSource)
