"""A model that is compiled for whole batches."""

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor, nn

CompileMode = Literal["default", "reduce-overhead"]
"""Of torch's modes those that give the same bits in every run: the others choose kernels by the time they take."""


class CompiledForward:
    """Computes batches of some sizes by ``torch.compile``, and others by the model as it is.

    What a batch is computed by depends on its size alone. Compiled for whatever size comes next, it would depend on
    the sizes that came before: on which clients a rank hosts, and on whether the run was resumed.

    Args:
        sizes: samples of the batches, or pieces of batches, that are compiled, each by itself.
        mode: of ``torch.compile``; ``reduce-overhead`` replays CUDA graphs, so that kernels need no launch of their
            own.
    """

    def __init__(self, model: nn.Module, sizes: Collection[int], mode: CompileMode = "default") -> None:
        self._model, self._sizes = model, frozenset(sizes)
        self._compiled = torch.compile(model, mode=mode, dynamic=False)

    def __call__(self, inputs: Tensor) -> Tensor:
        forward = self._compiled if len(inputs) in self._sizes else self._model
        out: Tensor = forward(inputs)
        return out
