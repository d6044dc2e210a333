"""What a model is here: a torch module built for a number of classes and an input shape."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedsim.errors import ComponentError, ConfigError
from fedsim.files import user_path
from fedsim.models.head import Head, head_of
from fedsim.models.task import Task
from fedsim.models.weights import load_weights, read_weights, require_weights
from fedsim.registry import Component, Registry, in_words


class ModelBuilder(Component):
    """Builds a classifier; a subclass implements :meth:`build`, or :meth:`build_for` if it reads token ids.

    Args:
        weights: a file that the model starts from: safetensors, or a torch checkpoint of tensors only.
    """

    def __init__(self, *, weights: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.weights = weights

    def try_out(self, module: object, task: Task) -> None:
        """Show two empty inputs to what has been built; ComponentError unless it makes logits of them."""
        if not isinstance(module, nn.Module):
            raise ComponentError(f"{self.who}: build returned {in_words(module)}, not a torch.nn.Module")
        inputs = torch.zeros(2, *task.input_shape, dtype=torch.float32 if task.vocabulary is None else torch.int64)
        wanted = [2, *(task.input_shape[:1] if task.per_token else ()), task.num_classes]
        training = module.training
        with torch.no_grad():
            made = module.eval()(inputs)
        module.train(training)
        shape = list(made.shape) if isinstance(made, torch.Tensor) else in_words(made)
        if shape != wanted:
            raise ComponentError(f"{self.who}: of inputs {list(inputs.shape)} it makes {shape}, not logits {wanted}")

    @classmethod
    def unimplemented(cls) -> list[str]:
        return [] if cls.build_for is not ModelBuilder.build_for else super().unimplemented()

    def check(self) -> None:
        """Raise ConfigError for what is wrong whatever the data are; called before any rank starts work."""

    @abstractmethod
    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        """A module with random parameters, from inputs [n, *input_shape] to logits [n, num_classes].

        It may draw from the global generators: the caller seeds them.
        """
        raise NotImplementedError

    def build_for(self, task: Task) -> nn.Module:
        """What :meth:`build` gives for the inputs and classes of a task.

        Raises:
            ConfigError: the inputs are token ids, which this model does not read.
        """
        if _has_tokens(task):
            problem = f"the inputs are token ids, and {self.name or type(self).__name__} does not read them"
            raise ConfigError("name", problem, "take a model of sequences (`--list` shows all models)")
        return self.build(task.input_shape, task.num_classes)

    @property
    def has_weights(self) -> bool:
        """Whether parameters come from somewhere, so that one rank reads them and hands them to the others."""
        return self.weights is not None

    @property
    def weights_path(self) -> Path:
        """The file that the model starts from."""
        assert self.weights is not None, "there are no weights"
        return user_path(self.weights, "weights")

    def check_weights(self) -> None:
        """Raise ConfigError if the weights cannot be had; called on one rank before any starts work."""
        if self.weights is not None:
            require_weights(self.weights_path)

    def build_with_weights(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        """What :meth:`build` gives, with the weights read into it."""
        return self._build_and_load(Task(input_shape=input_shape, num_classes=num_classes))

    def build_with_weights_for(self, task: Task) -> nn.Module:
        """What :meth:`build_for` gives, with the weights read into it."""
        if _has_tokens(task):
            return self._build_and_load(task)
        return self.build_with_weights(task.input_shape, task.num_classes)

    def head(self, task: Task) -> Head:
        """The tensors of a model for this task whose shape follows the number of classes."""
        more = replace(task, num_classes=task.num_classes + 1)
        return head_of(self.build_for(task), self.build_for(more))

    def normalization(self, channels: int) -> tuple[Sequence[float], Sequence[float]] | None:
        """Mean and standard deviation of each channel (of values in [0, 1]) that the model expects, as pre-trained.

        None for a model that expects nothing: images are then normalised by the statistics of the data set.
        """
        return None

    def _build_and_load(self, task: Task) -> nn.Module:
        self.check_weights()
        model, path = self.build_for(task), self.weights_path
        load_weights(model, read_weights(path), self.name, str(path), lambda: self.head(task))
        return model


def _has_tokens(task: Task) -> bool:
    return task.vocabulary is not None or task.per_token


models = Registry("model", ModelBuilder)
