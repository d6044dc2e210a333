"""From stored samples to what a model is shown: resized, augmented, cropped, on the device, scaled and normalised."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fedsim.data import Samples, Splits
from fedsim.data.augmentations import Augmentation
from fedsim.data.channel_statistics import Normalization, are_images
from fedsim.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class View:
    """How images are shown to a model.

    Attributes:
        resize: pixels per side of the square to which each image is first scaled, whatever its shape.
        augmentations: in training, one after another, with draws of their own for each image.
        crop: pixels per side of the square that is cut out, at a random place in training, else in the middle.
        resolution: pixels per side to which that square is then scaled.
        interpolation: how ``resize`` and ``resolution`` scale; what bicubic shoots beyond 0 and 1 is cut off.
        normalization: what is subtracted from each channel and what it is divided by, if anything.
    """

    resize: int | None = None
    augmentations: Sequence[Augmentation] = ()
    crop: int | None = None
    resolution: int | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    normalization: Normalization | None = None

    def shape(self, splits: Splits) -> tuple[int, ...]:
        """Shape of one input (C, H, W) as the model sees it.

        Raises:
            ConfigError: the data are no images, differ in size, or are smaller than the crop.
        """
        if not are_images(splits.train):
            given = {"resize": self.resize, "augment": self.augmentations, "crop": self.crop}
            for key, value in (*given.items(), ("resolution", self.resolution)):
                if value:
                    raise ConfigError(key, "these data are no images", "leave it out")
            return splits.input_shape
        channels, height, width = splits.input_shape
        height, width = (self.resize, self.resize) if self.resize is not None else (height, width)
        if self.crop is not None and self.crop > min(height, width):
            problem = f"{self.crop} is larger than the smallest image, {height} x {width}"
            raise ConfigError("crop", problem, f"take at most {min(height, width)}")
        if self.crop is None and self.resize is None and not splits.one_size:
            problem = f"images differ in size (from {height} x {width}), and a batch needs one"
            raise ConfigError("crop", problem, f"set it to at most {min(height, width)}, or set data.resize")
        height, width = (self.crop, self.crop) if self.crop is not None else (height, width)
        if self.resolution is not None and height != width:
            problem = f"images of {height} x {width} cannot be scaled to a square"
            remedy = f"set data.crop to at most {min(height, width)}, or data.resize instead"
            raise ConfigError("resolution", problem, remedy)
        return (channels, self.resolution or height, self.resolution or width)


class Inputs:
    """Batches of samples as a model is shown them.

    >>> from fedsim.data import TensorSamples
    >>> images = TensorSamples(torch.full((2, 1, 4, 4), 255, dtype=torch.uint8), labels=torch.tensor([0, 1]))
    >>> Inputs(images, View(crop=2, normalization=([0.5], [0.25]))).batch(torch.tensor([1])).tolist()
    [[[[2.0, 2.0], [2.0, 2.0]]]]
    """

    def __init__(self, samples: Samples, view: View | None = None, device: torch.device | None = None) -> None:
        self._samples, self._view, self.device = samples, view or View(), device or torch.device("cpu")
        self.labels = samples.labels
        """Classes [N], int64."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def draws(self) -> bool:
        """Whether training images depend on draws."""
        return bool(self._view.augmentations) or self._view.crop is not None

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Inputs [n, C, H, W] of the samples ``indices`` [n], on the device.

        Args:
            generator: in training, of augmentations and places of crops; None shows images as they are.
        """
        picked = self._samples.pick(indices)
        view = self._view
        if view.resize is not None or view.crop is not None or (view.augmentations and generator is not None):
            picked = [self._changed(image, generator) for image in picked]
        batch = picked if isinstance(picked, Tensor) else torch.stack(picked)
        batch = batch.to(self.device)
        batch = batch.float().div_(255) if batch.dtype == torch.uint8 else batch.float()
        if view.resolution is not None and batch.shape[-1] != view.resolution:
            batch = self._scaled(batch, view.resolution, largest=1.0)
        if view.normalization is not None:
            mean, std = (torch.tensor(values, device=self.device).view(-1, 1, 1) for values in view.normalization)
            batch = (batch - mean) / std
        return batch

    def _scaled(self, batch: Tensor, side: int, largest: float) -> Tensor:
        """Float images [n, C, H, W] with values up to ``largest``, as squares of ``side`` pixels."""
        mode = self._view.interpolation
        scaled = nn.functional.interpolate(batch, size=(side, side), mode=mode, antialias=True)
        return scaled.clamp_(0, largest) if mode == "bicubic" else scaled

    def _changed(self, image: Tensor, generator: torch.Generator | None) -> Tensor:
        side = self._view.resize
        if side is not None and image.shape[1:] != (side, side):
            image = self._scaled(image[None].float(), side, largest=255.0)[0].round_().to(torch.uint8)
        for augment in self._view.augmentations if generator is not None else ():
            image = augment(image, generator)  # type: ignore[arg-type]  # a generator, see above
        crop = self._view.crop
        if crop is None:
            return image
        margins = [side - crop for side in image.shape[1:]]
        if generator is None:
            top, left = (spare // 2 for spare in margins)
        else:
            top, left = (int(torch.randint(spare + 1, (), generator=generator)) for spare in margins)
        return image[:, top : top + crop, left : left + crop]
