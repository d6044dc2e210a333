"""What a GPU computes float32 matrix products and convolutions in."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch

Matmul = Literal["highest", "tf32"]

OF_PRODUCTS: Mapping[Matmul, str] = {"highest": "highest", "tf32": "high"}
"""torch's words for it. Its third one, ``medium``, is TF32 on a GPU, too, and bfloat16 on a CPU."""

OF_CUDNN: Mapping[Matmul, str] = {"highest": "ieee", "tf32": "tf32"}
"""Of convolutions, which torch computes in TF32 unless it is forbidden."""


def set_matmul_precision(matmul: Matmul) -> None:
    """Set it for this process, until further notice."""
    with warnings.catch_warnings():  # some versions of torch name a newer way here, over which torch.compile trips
        warnings.filterwarnings("ignore", message=".*TF32", category=UserWarning)
        torch.set_float32_matmul_precision(OF_PRODUCTS[matmul])
    torch.backends.cudnn.conv.fp32_precision = OF_CUDNN[matmul]  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = OF_CUDNN[matmul]  # type: ignore[attr-defined]


@contextmanager
def matmul_precision(matmul: Matmul, device: torch.device) -> Iterator[None]:
    """In the block, products on a GPU are computed in this precision; after it, in the highest.

    So that only clients' work is rougher: attacks, defences and evaluation stay exact.
    """
    if device.type != "cuda":
        yield
        return
    set_matmul_precision(matmul)
    try:
        yield
    finally:
        set_matmul_precision("highest")
