"""A data set that is read, or made, by code of yours.

`fedsim --plugin my_data.py data.name=my_data data.partition.name=natural model.name=mlp`
"""

from pathlib import Path

import torch
from pydantic import Field

from fedsim.data import Splits, TensorSamples
from fedsim.data.sources import DataSource, sources
from fedsim.seeds import derive_generator
from fedsim.settings import Schema


@sources.register("my_data")
class MyData(DataSource):
    """Points on three rings around zero, measured in eight rooms."""

    class Settings(Schema):
        samples: int = Field(600, ge=24, description="to train; a third as many to test")

    settings: Settings
    reads_root = False  # True: load gets the folder that data.root names, which must be there

    def load(self, root: Path | None) -> Splits:
        return Splits(
            train=self._samples(self.settings.samples, "train"),
            test=self._samples(max(24, self.settings.samples // 3), "test"),
            class_names=("inner", "middle", "outer"),
            input_shape=(2,),
        )

    def _samples(self, count: int, purpose: str) -> TensorSamples:
        generator = derive_generator(0, purpose)  # the same data in every run
        labels = torch.arange(count) % 3  # int64 [N]
        radius = labels + 1 + 0.1 * torch.randn(count, generator=generator)
        angle = 2 * torch.pi * torch.rand(count, generator=generator)
        inputs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)  # float [N, ...], or uint8 images
        rooms = [f"room {sample // 3 % 8}" for sample in range(count)]  # data.partition.name=natural: each a client
        return TensorSamples(inputs, labels, columns={"room": rooms})
