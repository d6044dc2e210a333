"""A tensor that grows as values come in."""

from torch import Tensor


class GrowingTensor:
    """Values [n, ...] that come in pieces. Each is copied at once: pieces kept one by one would scatter the heap.

    >>> import torch
    >>> growing = GrowingTensor()
    >>> growing.add(torch.tensor([1, 2]))
    >>> growing.add(torch.tensor([3]))
    >>> growing.values()
    tensor([1, 2, 3])
    """

    def __init__(self) -> None:
        self._held: Tensor | None = None
        self._size = 0

    def add(self, piece: Tensor) -> None:
        """Append a piece [m, ...]; all pieces have one dtype and the same further dimensions."""
        size = self._size + len(piece)
        if self._held is None or size > len(self._held):
            held = piece.new_empty(max(size, 2 * self._size), *piece.shape[1:])
            if self._held is not None:
                held[: self._size] = self._held[: self._size]
            self._held = held
        self._held[self._size : size] = piece
        self._size = size

    def values(self) -> Tensor:
        """All values [n, ...] so far."""
        assert self._held is not None
        return self._held[: self._size]
