"""What models of token ids have in common."""

from abc import abstractmethod

from torch import Tensor, nn

from fedsim.errors import ConfigError
from fedsim.models.base import ModelBuilder
from fedsim.models.task import Task


class SequenceModel(ModelBuilder):
    """Builds a model of sequences of token ids [n, T]; a subclass implements :meth:`build_encoder`.

    Logits are [n, C], or [n, T, C] where the task asks for a class of each position.
    """

    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        problem = f"{self.name} reads sequences of token ids, and the inputs are numbers of shape {list(input_shape)}"
        raise ConfigError("name", problem, "take mlp, or a model of images (`--list` shows all models)")

    def build_for(self, task: Task) -> nn.Module:
        """The model of a task.

        Raises:
            ConfigError: its inputs are no sequences of token ids.
        """
        if task.vocabulary is None or len(task.input_shape) != 1:
            return self.build(task.input_shape, task.num_classes)
        encoder, width = self.build_encoder(task.vocabulary, task.input_shape[0], causal=task.per_token)
        return TokenClassifier(encoder, nn.Linear(width, task.num_classes), per_token=task.per_token)

    @abstractmethod
    def build_encoder(self, vocabulary: int, length: int, *, causal: bool) -> tuple[nn.Module, int]:
        """A module from token ids [n, T] to a vector for each position [n, T, E], and E.

        Args:
            vocabulary: how many token ids there are.
            length: T.
            causal: whether a position must not see the ones after it, because they are what it is to predict.
        """
        raise NotImplementedError


class TokenClassifier(nn.Module):
    """Logits from the vector of each position, or from that of the last one alone."""

    def __init__(self, encoder: nn.Module, head: nn.Linear, *, per_token: bool) -> None:
        super().__init__()
        self.encoder, self.head, self._per_token = encoder, head, per_token

    def forward(self, tokens: Tensor) -> Tensor:
        vectors: Tensor = self.encoder(tokens)
        logits: Tensor = self.head(vectors if self._per_token else vectors[:, -1])
        return logits
