"""MNIST, from the four IDX files that its authors publish."""

from fedsim.data.images.channel_statistics import Normalization
from fedsim.data.sources.base import sources
from fedsim.data.sources.idx_images import IdxImages
from fedsim.registry import Reference


@sources.register(
    "mnist",
    Reference(
        authors="LeCun, Bottou, Bengio and Haffner",
        title="Gradient-Based Learning Applied to Document Recognition",
        year=1998,
        venue="Proceedings of the IEEE",
        url="https://doi.org/10.1109/5.726791",
    ),
)
class Mnist(IdxImages):
    """70 000 handwritten digits of 28 x 28 pixels, 10 000 of them to test."""

    folder = "MNIST"
    class_names = tuple("0123456789")

    @property
    def published_statistics(self) -> Normalization:
        return (0.1307,), (0.3081,)
