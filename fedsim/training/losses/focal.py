"""A loss that looks at the hard samples."""

from pydantic import Field
from torch import Tensor

from fedsim.registry import Reference
from fedsim.training.losses.base import Loss, LossSettings, losses


@losses.register(
    "focal",
    Reference(
        authors="Lin et al.",
        title="Focal Loss for Dense Object Detection",
        year=2017,
        venue="ICCV",
        url="https://arxiv.org/abs/1708.02002",
    ),
)
class Focal(Loss):
    """-(1 - p)^gamma log p of the true class; gamma = 0 is cross entropy.

    Lin et al. define it for two classes with a sigmoid; here p is the softmax over all classes. Their weight alpha of
    a class is ``class_weights``.
    """

    class Settings(LossSettings):
        gamma: float = Field(2.0, ge=0, description="how little easy samples count")

    settings: Settings

    def of_samples(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_p = logits.log_softmax(dim=1).gather(1, labels[:, None])[:, 0]
        if self.settings.gamma == 0:
            return -log_p
        # 1 - p from log p without cancellation; where p rounds to 1, a power below 1 would have an infinite slope.
        distance = -log_p.expm1()
        return -(distance.clamp(min=1e-12) ** self.settings.gamma) * log_p
