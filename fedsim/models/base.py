"""What a model is here: a torch module built for a number of classes and an input shape."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import nn

from fedsim.registry import Component, Registry


class ModelBuilder(Component):
    """Builds a classifier; a subclass implements :meth:`build`."""

    def check(self) -> None:
        """Raise ConfigError for what is wrong whatever the data are; called before any rank starts work."""

    @abstractmethod
    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        """A module with random parameters, from inputs [n, *input_shape] to logits [n, num_classes].

        It may draw from the global generators: the caller seeds them.
        """
        raise NotImplementedError

    @property
    def has_weights(self) -> bool:
        """Whether parameters come from somewhere, so that one rank reads them and hands them to the others."""
        return False

    def check_weights(self) -> None:
        """Raise ConfigError if the weights cannot be had; called on one rank before any starts work."""

    def build_with_weights(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        """What :meth:`build` gives, with the weights read into it."""
        raise NotImplementedError

    def normalization(self, channels: int) -> tuple[Sequence[float], Sequence[float]] | None:
        """Mean and standard deviation of each channel (of values in [0, 1]) that the model expects, as pre-trained.

        None for a model that expects nothing: images are then normalised by the statistics of the data set.
        """
        return None


models = Registry[ModelBuilder]("model")
