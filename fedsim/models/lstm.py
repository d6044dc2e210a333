"""A recurrent network that reads a sequence of token ids from left to right."""

import torch
from pydantic import Field
from torch import Tensor, nn

from fedsim.models.base import models
from fedsim.models.sequence_model import SequenceModel
from fedsim.registry import Reference
from fedsim.settings import Schema


@models.register(
    "lstm",
    Reference(
        authors="McMahan et al.",
        title="Communication-Efficient Learning of Deep Networks from Decentralized Data",
        year=2017,
        venue="AISTATS",
        url="https://arxiv.org/abs/1602.05629",
    ),
    Reference(
        authors="Caldas et al.",
        title="LEAF: A Benchmark for Federated Settings",
        year=2018,
        venue="arXiv preprint",
        url="https://arxiv.org/abs/1812.01097",
    ),
)
class Lstm(SequenceModel):
    """Embedding, LSTM layers and a linear layer; as FedAvg and LEAF have it for Shakespeare, 819 920 parameters."""

    class Settings(Schema):
        embedding: int = Field(8, ge=1, le=10**5, description="numbers that stand for a token")
        hidden: int = Field(256, ge=1, le=10**5, description="units of each layer")
        layers: int = Field(2, ge=1, le=100, description="LSTM layers, one on top of the other")

    settings: Settings

    def build_encoder(self, vocabulary: int, length: int, *, causal: bool) -> tuple[nn.Module, int]:
        return LstmEncoder(vocabulary, self.settings), self.settings.hidden


class LstmEncoder(nn.Module):
    """The output of the topmost layer at each position, which has seen the positions up to it."""

    def __init__(self, vocabulary: int, settings: Lstm.Settings) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, settings.embedding)
        self.lstm = nn.LSTM(settings.embedding, settings.hidden, settings.layers, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):  # only some processors have an LSTM in bfloat16
            outputs: Tensor = self.lstm(self.embedding(tokens))[0]
        return outputs
