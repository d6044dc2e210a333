"""A small decoder-only transformer over token ids."""

import torch
from pydantic import Field
from torch import Tensor, nn

from fedsim.errors import ConfigError
from fedsim.models.base import models
from fedsim.models.sequence_model import SequenceModel
from fedsim.registry import Reference
from fedsim.settings import Schema


@models.register(
    "transformer",
    Reference(
        authors="Vaswani et al.",
        title="Attention Is All You Need",
        year=2017,
        venue="NeurIPS",
        url="https://arxiv.org/abs/1706.03762",
    ),
    Reference(
        authors="Radford et al.",
        title="Language Models are Unsupervised Multitask Learners",
        year=2019,
        venue="OpenAI technical report",
        url="https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf",
    ),
)
class Transformer(SequenceModel):
    """Blocks of attention and a hidden layer, each normalised first as in GPT-2; learned embeddings of positions.

    Where each position has a class, it sees itself and the positions before it; else all of them.
    """

    class Settings(Schema):
        width: int = Field(64, ge=1, le=10**5, description="numbers that stand for a token, a multiple of heads")
        layers: int = Field(2, ge=1, le=1000, description="blocks, one on top of the other")
        heads: int = Field(4, ge=1, le=10**4, description="heads of each attention")
        dropout: float = Field(0.0, ge=0, lt=1, description="dropout of embeddings and of what each block adds")

    settings: Settings

    def check(self) -> None:
        width, heads = self.settings.width, self.settings.heads
        if width % heads:
            raise ConfigError("width", f"{width} is no multiple of the {heads} heads", "change either of them")

    def build_encoder(self, vocabulary: int, length: int, *, causal: bool) -> tuple[nn.Module, int]:
        self.check()
        return TransformerEncoder(vocabulary, length, self.settings, causal=causal), self.settings.width


class TransformerEncoder(nn.Module):
    """Embeddings of tokens and positions, the blocks, and a last normalisation."""

    def __init__(self, vocabulary: int, length: int, settings: Transformer.Settings, *, causal: bool) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, settings.width)
        self.positions = nn.Parameter(torch.empty(length, settings.width))
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.Sequential(*(Block(settings, causal=causal) for _ in range(settings.layers)))
        self.norm = nn.LayerNorm(settings.width)
        for embedding in (self.tokens.weight, self.positions):
            nn.init.normal_(embedding, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        vectors: Tensor = self.norm(self.blocks(self.dropout(self.tokens(tokens) + self.positions)))
        return vectors


class Block(nn.Module):
    """Attention and a hidden layer four times as wide, each added to what comes in."""

    def __init__(self, settings: Transformer.Settings, *, causal: bool) -> None:
        super().__init__()
        width = settings.width
        self.attention = nn.Sequential(
            nn.LayerNorm(width), Attention(width, settings.heads, causal=causal), nn.Dropout(settings.dropout)
        )
        self.hidden = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(settings.dropout),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        vectors = vectors + self.attention(vectors)
        added: Tensor = self.hidden(vectors)
        return vectors + added


class Attention(nn.Module):
    """softmax(Q Kᵀ / √d) V in each head, from vectors [n, T, E] to vectors [n, T, E].

    Written out: torch's fused form cannot be vectorised over clients, and some of its kernels are not deterministic.
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.to_heads, self.from_heads = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self._heads, self._causal = heads, causal

    def forward(self, vectors: Tensor) -> Tensor:
        queries, keys, values = self.to_heads(vectors).unflatten(-1, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        scores = queries @ keys.transpose(-2, -1) / keys.shape[-1] ** 0.5
        if self._causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        heads = scores.softmax(dim=-1) @ values
        mixed: Tensor = self.from_heads(heads.transpose(1, 2).flatten(2))
        return mixed
