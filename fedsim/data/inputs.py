"""From stored samples to what a model is shown: resized, augmented, cropped, on the device, scaled and normalised."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsim.data import Samples, Splits
from fedsim.data.augmentations import Augmentation
from fedsim.data.feeds import Batch, Placement, open_feed
from fedsim.data.images.channel_statistics import Normalization, are_images
from fedsim.data.images.pixels import Interpolation, cut, random_places, resized, scaled
from fedsim.data.transfer import to_device
from fedsim.errors import ConfigError
from fedsim.seeds import next_seed


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
    interpolation: Interpolation = "bilinear"
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

    Args:
        device: where batches are wanted.
        placement: where the samples lie until then; it makes no difference to what is shown.

    >>> from fedsim.data import TensorSamples
    >>> images = TensorSamples(torch.full((2, 1, 4, 4), 255, dtype=torch.uint8), labels=torch.tensor([0, 1]))
    >>> Inputs(images, View(crop=2, normalization=([0.5], [0.25]))).batch(torch.tensor([1])).tolist()
    [[[[2.0, 2.0], [2.0, 2.0]]]]
    """

    def __init__(
        self,
        samples: Samples,
        view: View | None = None,
        device: torch.device | None = None,
        placement: Placement = "host",
    ) -> None:
        self._view, self.device = view or View(), device or torch.device("cpu")
        self._feed = open_feed(samples, self.device, placement)
        self._statistics = [
            torch.tensor(values, device=self.device).view(-1, 1, 1) for values in self._view.normalization or ()
        ]
        self.labels = samples.labels
        """Classes [N], int64; [N, T] of the positions of sequences."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def draws(self) -> bool:
        """Whether training images depend on draws."""
        return bool(self._view.augmentations) or self._view.crop is not None

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Inputs [n, C, H, W] of the samples ``indices`` [n], on the device; see :meth:`stream`."""
        return next(self.stream([indices], generator))

    def stream(self, order: Sequence[Tensor], generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """Inputs [n, C, H, W] of one batch after another, on the device.

        Args:
            order: indices [n] of the samples of each batch, on the CPU.
            generator: in training, of augmentations and places of crops; None shows images as they are.
        """
        for picked in self._feed.stream(order):
            yield self._shown(picked, generator)

    def _shown(self, picked: Batch, generator: torch.Generator | None) -> Tensor:
        view = self._view
        groups = _joined([picked] if isinstance(picked, Tensor) else [image[None] for image in picked])
        if view.resize is not None:
            groups = _joined([resized(images, view.resize, view.interpolation) for images in groups])
        for augment in view.augmentations if generator is not None else ():
            groups = [_augmented(augment, images, generator) for images in groups]  # type: ignore[arg-type]
        if view.crop is not None:
            groups = _joined([_cropped(images, view.crop, generator) for images in groups])
        (batch,) = groups
        if batch.dtype == torch.uint8:
            batch = batch.float().div_(255)
        elif batch.is_floating_point():
            batch = batch.float()
        if view.resolution is not None and batch.shape[-1] != view.resolution:
            batch = scaled(batch, view.resolution, view.interpolation, largest=1.0)
        if self._statistics:
            mean, std = self._statistics
            batch = (batch - mean) / std
        return batch


def _joined(groups: list[Tensor]) -> list[Tensor]:
    """Groups of images of one size [m, C, H, W], as one group if all are of that size."""
    if len(groups) == 1 or any(images.shape[1:] != groups[0].shape[1:] for images in groups):
        return groups
    return [torch.cat(groups)]


def _augmented(augment: Augmentation, images: Tensor, generator: torch.Generator) -> Tensor:
    with augment.own_draws(lambda: next_seed(generator), device=images.device):
        changed = augment(images, generator)
    if changed.shape != images.shape or changed.dtype != images.dtype:
        made, given = (f"{list(batch.shape)} of {batch.dtype}" for batch in (changed, images))
        problem = f"{augment.name or type(augment).__name__} makes {made} of {given}"
        raise ConfigError("data.augment", problem, "let it keep the shape and the type of the images")
    return changed


def _cropped(images: Tensor, side: int, generator: torch.Generator | None) -> Tensor:
    """Squares of ``side`` pixels, each at a random place, or all in the middle."""
    spare = torch.tensor(images.shape[2:]) - side
    if generator is None:
        top, left = (spare // 2).tolist()
        return images[:, :, top : top + side, left : left + side]
    top, left = to_device(random_places(spare.expand(len(images), 2), generator).T, images.device)
    return cut(images, top, left, side, side)
