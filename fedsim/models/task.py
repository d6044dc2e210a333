"""What a model is built for: the inputs that it is shown, and the classes among which it chooses."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a data set asks of a model.

    Attributes:
        input_shape: of one input as the model sees it: (C, H, W) of images, (T,) of a sequence of token ids.
        num_classes: C, the number of logits of a prediction.
        vocabulary: how many token ids there are, from 0 on, where inputs are such ids; None for real numbers.
        per_token: whether there is a class for each position of a sequence, and not one for the whole of it: logits
            are then [n, T, C], and not [n, C].
    """

    input_shape: tuple[int, ...]
    num_classes: int
    vocabulary: int | None = None
    per_token: bool = False
