"""What a model is here: a torch module built for a number of classes and an input shape."""

from abc import abstractmethod

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


models = Registry[ModelBuilder]("model")
