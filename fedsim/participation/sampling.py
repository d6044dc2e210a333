"""Who takes part in a round."""

import torch

from fedsim.seeds import derive_generator


def participants(seed: int, round: int, count: int, taking_part: int) -> tuple[int, ...]:
    """Ids of the ``taking_part`` clients of this round, sorted.

    >>> participants(0, 3, count=4, taking_part=4)
    (0, 1, 2, 3)
    """
    if taking_part >= count:
        return tuple(range(count))
    drawn = torch.randperm(count, generator=derive_generator(seed, "participants", round))[:taking_part]
    return tuple(sorted(drawn.tolist()))
