"""The usual loss of classifiers."""

from pydantic import Field
from torch import Tensor, nn

from fedsim.registry import Reference
from fedsim.training.losses.base import Loss, LossSettings, losses


@losses.register(
    "cross_entropy",
    Reference(
        authors="Szegedy et al.",
        title="Rethinking the Inception Architecture for Computer Vision",
        year=2016,
        venue="CVPR",
        url="https://arxiv.org/abs/1512.00567",
    ),
)
class CrossEntropy(Loss):
    """-log p of the true class.

    With label smoothing s, as in Szegedy et al., the target of the true class is 1 - s + s/C, that of another s/C.
    """

    class Settings(LossSettings):
        label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target that all classes get alike")

    settings: Settings

    def of_samples(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = self.settings.label_smoothing
        return nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)

    def mean(self, logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
        if class_weights is not None:
            return super().mean(logits, labels, class_weights)
        # Fused: the same bits as a plain loop that calls it so. It leaves out positions without a class.
        return nn.functional.cross_entropy(
            logits.flatten(0, -2), labels.flatten(), label_smoothing=self.settings.label_smoothing
        )
