"""Synthetic(alpha, beta): devices whose models and whose inputs differ as much as one likes."""

from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.samples import Splits, TensorSamples
from fedsim.data.sources.base import DataSource, sources
from fedsim.machine import require_memory
from fedsim.registry import Reference
from fedsim.seeds import derive_generator
from fedsim.settings import Schema

LOG_MEAN, LOG_STD, LEAST = 4.0, 2.0, 50
"""Of a device's number of samples, as the authors draw it: 50 and a log-normal number, so that few have most."""

COLUMN = "client"

FEW_VALUES = 10**7
"""They are drawn in a second."""

DECAY = -1.2
"""Power of j in the variance of the j-th feature."""


@sources.register(
    "synthetic_alpha_beta",
    Reference(
        authors="Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith",
        title="Federated Optimization in Heterogeneous Networks",
        year=2020,
        venue="MLSys",
        url="https://arxiv.org/abs/1812.06127",
    ),
)
class SyntheticAlphaBeta(DataSource):
    """Synthetic(alpha, beta) of FedProx: labels are argmax(softmax(W_k x + b_k)) with a model for each device k.

    W_k and b_k have entries from N(u_k, 1), u_k from N(0, alpha); inputs come from N(v_k, Sigma) with
    Sigma_jj = j^-1.2, v_k has entries from N(B_k, 1), B_k from N(0, beta). ``iid: true`` is Synthetic IID: one W and
    b with entries from N(0, 1), and v_k = 0. As in the authors' code, alpha and beta are standard deviations, and the
    number of a device's samples is log-normal. The column ``client`` says whose a sample is, and ``model.name=mlp
    model.hidden=[]`` is their logistic regression.
    """

    class Settings(Schema):
        alpha: float = Field(1.0, ge=0, description="how much the devices' models differ: deviation of u_k")
        beta: float = Field(1.0, ge=0, description="how much the devices' inputs differ: deviation of B_k")
        iid: bool = Field(False, description="one model and one distribution of inputs for all devices")
        devices: int = Field(
            30, ge=1, le=10**6, description="devices, each a client with data.partition.name=natural"
        )
        samples: int | None = Field(
            None,
            ge=2,
            le=10**9,
            description="of each device; null: 50 and a log-normal number, most on a few devices",
        )
        dimension: int = Field(60, ge=1, le=10**6, description="features of an input")
        classes: int = Field(10, ge=2, le=10**5, description="number of classes")
        test_share: float = Field(0.1, gt=0, lt=1, description="share of each device's samples that is for testing")
        data_seed: int = Field(0, ge=0, description="of all that is drawn, the same for all runs")

    settings: Settings

    def check(self, root: Path | None) -> None:
        super().check(root)
        settings, sizes = self.settings, self._sizes()
        # Inputs of one device at a time are float64.
        values = 4 * int(sizes.sum()) + 8 * (int(sizes.max()) + settings.classes)
        what = f"{int(sizes.sum())} samples of {settings.dimension} features"
        require_memory(values * settings.dimension, "devices", what, "take fewer devices or smaller samples")

    def sketch(self, root: Path | None) -> Splits | None:
        few = int(self._sizes().sum()) * self.settings.dimension <= FEW_VALUES
        return self.load(root) if few else None

    def load(self, root: Path | None) -> Splits:
        settings, sizes = self.settings, self._sizes()
        inputs = torch.empty(int(sizes.sum()), settings.dimension)
        labels = torch.empty(len(inputs), dtype=torch.int64)
        parts = zip(inputs.split(sizes.tolist()), labels.split(sizes.tolist()), strict=True)
        for device, (its_inputs, its_labels) in enumerate(parts):
            drawn, classes = self._device(device, len(its_inputs))
            its_inputs.copy_(drawn)
            its_labels.copy_(classes)
        devices = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        columns = {COLUMN: list(map(str, devices.tolist()))}
        samples, for_test = TensorSamples(inputs, labels, columns), self._for_test(sizes)
        return Splits.divided(
            samples,
            for_test,
            class_names=tuple(map(str, range(settings.classes))),
            input_shape=(settings.dimension,),
        )

    def _sizes(self) -> Tensor:
        """Samples of each device."""
        settings = self.settings
        if settings.samples is not None:
            return torch.full((settings.devices,), settings.samples)
        normal = torch.randn(settings.devices, dtype=torch.float64, generator=self._generator("sizes"))
        return LEAST + normal.mul(LOG_STD).add(LOG_MEAN).exp().long()

    def _for_test(self, sizes: Tensor) -> Tensor:
        """The last samples of each device, which are as random as any."""
        train = (sizes.double() * (1 - self.settings.test_share)).long().clamp(min=1)
        pattern = torch.tensor([False, True]).repeat(len(sizes))
        return torch.repeat_interleave(pattern, torch.stack([train, sizes - train], dim=1).flatten())

    def _device(self, device: int, count: int) -> tuple[Tensor, Tensor]:
        """Inputs [n, D] and classes [n] of a device."""
        settings, generator = self.settings, self._generator("device", device)

        def normal(*shape: int, mean: Tensor | float = 0.0, std: float = 1.0) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator).mul(std).add(mean)

        centre = torch.zeros(settings.dimension, dtype=torch.float64)
        if settings.iid:
            weight, bias = self._shared_model()
        else:
            mean = normal(1, std=settings.alpha)
            weight = normal(settings.dimension, settings.classes, mean=mean)
            bias = normal(settings.classes, mean=mean)
            centre = normal(settings.dimension, mean=normal(1, std=settings.beta))
        deviations = torch.arange(1, settings.dimension + 1, dtype=torch.float64) ** (DECAY / 2)
        inputs = normal(count, settings.dimension) * deviations + centre
        return inputs, (inputs @ weight + bias).argmax(1)

    def _shared_model(self) -> tuple[Tensor, Tensor]:
        """Weights [D, C] and biases [C] of all devices."""
        settings, generator = self.settings, self._generator("model")
        weight = torch.randn(settings.dimension, settings.classes, dtype=torch.float64, generator=generator)
        return weight, torch.randn(settings.classes, dtype=torch.float64, generator=generator)

    def _generator(self, purpose: str, *ids: int) -> torch.Generator:
        return derive_generator(self.settings.data_seed, f"{self.name} {purpose}", *ids)
