"""What a model is here: a torch module built for a number of classes and an input shape."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import nn

from fedsim.registry import Component, Registry


class ModelBuilder(Component):
    """Builds a classifier; a subclass implements :meth:`build`."""

    @abstractmethod
    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        """A module from inputs [n, *input_shape] to logits [n, num_classes].

        It may draw from the global generators: the caller seeds them.
        """
        raise NotImplementedError

    def normalization(self, channels: int) -> tuple[Sequence[float], Sequence[float]] | None:
        """Mean and standard deviation of each channel of the images (values in [0, 1]) that the model expects."""
        return None


models = Registry[ModelBuilder]("model")
