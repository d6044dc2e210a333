"""From stored samples to what a model is shown: augmented, cropped, on the device, scaled and normalised."""

from collections.abc import Sequence
from dataclasses import dataclass

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
        augmentations: in training, one after another, with draws of their own for each image.
        crop: pixels per side of the square that is cut out, at a random place in training, else in the middle.
        resolution: pixels per side to which that square is then scaled.
        normalization: what is subtracted from each channel and what it is divided by, if anything.
    """

    augmentations: Sequence[Augmentation] = ()
    crop: int | None = None
    resolution: int | None = None
    normalization: Normalization | None = None

    def shape(self, splits: Splits) -> tuple[int, ...]:
        """Shape of one input (C, H, W) as the model sees it.

        Raises:
            ConfigError: the data are no images, differ in size, or are smaller than the crop.
        """
        if not are_images(splits.train):
            for key, value in (("augment", self.augmentations), ("crop", self.crop), ("resolution", self.resolution)):
                if value:
                    raise ConfigError(key, "these data are no images", "leave it out")
            return splits.input_shape
        channels, height, width = splits.input_shape
        if self.crop is not None and self.crop > min(height, width):
            problem = f"{self.crop} is larger than the smallest image, {height} x {width}"
            raise ConfigError("crop", problem, f"take at most {min(height, width)}")
        if self.crop is None and not splits.one_size:
            problem = f"images differ in size (from {height} x {width}), and a batch needs one"
            raise ConfigError("crop", problem, f"set it to at most {min(height, width)}")
        height, width = (self.crop, self.crop) if self.crop is not None else (height, width)
        if self.resolution is not None and height != width:
            problem = f"images of {height} x {width} cannot be scaled to a square"
            raise ConfigError("resolution", problem, f"set data.crop to at most {min(height, width)}")
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

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Inputs [n, C, H, W] of the samples ``indices`` [n], on the device.

        Args:
            generator: in training, of augmentations and places of crops; None shows images as they are.
        """
        picked = self._samples.pick(indices)
        view = self._view
        if view.crop is not None or (view.augmentations and generator is not None):
            picked = [self._changed(image, generator) for image in picked]
        batch = picked if isinstance(picked, Tensor) else torch.stack(picked)
        batch = batch.to(self.device)
        batch = batch.float().div_(255) if batch.dtype == torch.uint8 else batch.float()
        if view.resolution is not None and batch.shape[-1] != view.resolution:
            size = (view.resolution, view.resolution)
            batch = nn.functional.interpolate(batch, size=size, mode="bilinear", antialias=True)
        if view.normalization is not None:
            mean, std = (torch.tensor(values, device=self.device).view(-1, 1, 1) for values in view.normalization)
            batch = (batch - mean) / std
        return batch

    def _changed(self, image: Tensor, generator: torch.Generator | None) -> Tensor:
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
