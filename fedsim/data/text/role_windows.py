"""Windows of texts that roles speak, as samples: what is read, and what comes next."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from fedsim.data.samples import Columns


@dataclass(frozen=True)
class TextWindows:
    """Samples of T characters each, which are cut out of one text when they are picked.

    Attributes:
        text: token ids of the characters [L], uint8.
        starts: where each sample begins [N].
        length: T.
        per_token: whether each position is to predict the character after it, or the last position alone.
    """

    text: Tensor
    starts: Tensor
    length: int
    per_token: bool
    columns: Columns = field(default_factory=dict)

    @cached_property
    def labels(self) -> Tensor:
        """What comes next [N], or at each position [N, T]."""
        if not self.per_token:
            return self.text[self.starts + self.length].long()
        return self._cut(self.starts + 1)

    def __len__(self) -> int:
        return len(self.starts)

    def pick(self, indices: Tensor) -> Tensor:
        return self._cut(self.starts[indices])

    def _cut(self, starts: Tensor) -> Tensor:
        return self.text[starts[:, None] + torch.arange(self.length)].long()


@dataclass(frozen=True)
class RoleWindows:
    """Where windows of a text begin, and who speaks them.

    Attributes:
        text: token ids of the characters [L], uint8.
        starts: where each window begins [N]; those of a role in the order of its text.
        roles: the role of each window [N], a number.
        names: of the roles.
    """

    text: Tensor
    starts: Tensor
    roles: Tensor
    names: Sequence[str]

    @property
    def places(self) -> Tensor:
        """Which window of its role each is [N], from 0 on.

        >>> RoleWindows(torch.zeros(0), torch.arange(5), torch.tensor([1, 0, 1, 1, 0]), "ab").places.tolist()
        [0, 0, 1, 2, 1]
        """
        order = self.roles.argsort(stable=True)
        sizes = self.roles.bincount()
        places = torch.empty_like(self.roles)
        places[order] = torch.arange(len(order)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        return places

    def only(self, chosen: Tensor) -> "RoleWindows":
        """The windows for which ``chosen`` [N] is true."""
        return replace(self, starts=self.starts[chosen], roles=self.roles[chosen])

    def every(self, stride: int) -> "RoleWindows":
        """Every ``stride``-th window of each role, from its first on."""
        return self.only(self.places % stride == 0)

    def samples(self, length: int, *, per_token: bool) -> TextWindows:
        """The windows as samples of ``length`` characters, with the column ``role``."""
        columns = {"role": [self.names[role] for role in self.roles.tolist()]}
        return TextWindows(self.text, self.starts, length, per_token, columns)


def largest_roles(roles: Tensor, count: int) -> Tensor:
    """Whether each window [N] belongs to one of the ``count`` roles with the most windows.

    >>> largest_roles(torch.tensor([0, 1, 2, 1, 2]), count=1).tolist()
    [False, True, False, True, False]
    """
    order = roles.bincount().argsort(descending=True, stable=True)
    return torch.isin(roles, order[:count])


def split_by_time(
    windows: RoleWindows, length: int, stride: int, test_share: float
) -> tuple[RoleWindows, RoleWindows]:
    """Of each role, the earlier windows to train and the later ones to test, every ``stride``-th of them.

    As LEAF has it: of n windows that begin one character after another, int((1 - test_share) n) and at least one are
    to train, and ``length`` - 1 between the sides are left out, so that nothing that is read in training is read in
    testing. A role with few windows has none to test.
    """
    places, sizes = windows.places, windows.roles.bincount()
    end = ((1 - test_share) * sizes.double()).long().clamp(min=1)[windows.roles]
    begin = end + length - 1
    return windows.only(places < end).every(stride), windows.only(places >= begin).every(stride)
