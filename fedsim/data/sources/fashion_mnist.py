"""Fashion-MNIST, from the four IDX files that its authors publish."""

from fedsim.data.images.channel_statistics import Normalization
from fedsim.data.sources.base import sources
from fedsim.data.sources.idx_images import IdxImages
from fedsim.registry import Reference


@sources.register(
    "fashion_mnist",
    Reference(
        authors="Xiao, Rasul and Vollgraf",
        title="Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
        year=2017,
        venue="arXiv preprint",
        url="https://arxiv.org/abs/1708.07747",
    ),
)
class FashionMnist(IdxImages):
    """70 000 pictures of clothes of 28 x 28 pixels in 10 classes, 10 000 of them to test."""

    folder = "FashionMNIST"
    class_names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )

    @property
    def published_statistics(self) -> Normalization:
        return (0.2860,), (0.3530,)
