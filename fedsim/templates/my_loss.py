"""A loss: what clients minimise.

`fedsim --plugin my_loss.py clients.loss.name=my_loss clients.loss.q=0.5`
"""

from pydantic import Field
from torch import Tensor

from fedsim.training.losses import Loss, losses


@losses.register("my_loss")
class MyLoss(Loss):
    """(1 - p^q) / q of the true class's probability p: cross entropy as q goes to 0, 1 - p at q = 1."""

    class Settings(Loss.Settings):  # which has class_weights
        q: float = Field(0.7, gt=0, le=1, description="how little samples with a small p, perhaps mislabelled, count")

    settings: Settings

    def of_samples(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_p = logits.log_softmax(dim=1).gather(1, labels[:, None])[:, 0]
        return -(self.settings.q * log_p).expm1() / self.settings.q  # the loss of each sample [n]
