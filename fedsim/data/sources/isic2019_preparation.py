"""From the raw ISIC 2019 challenge files to the folder that FLamby's preprocessing leaves."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedsim.data.formats.table import write_table
from fedsim.data.images.image_files import in_threads, read_rgb, scaled
from fedsim.data.sources.isic2019_tables import ISIC_URL, OWN_SPLIT, draw_split, read_split_rows, split_file
from fedsim.errors import ConfigError
from fedsim.files import whole_or_not_at_all

RAW = "ISIC_2019_Training_Input"
IMAGES = "ISIC_2019_Training_Input_preprocessed"
SHORT_SIDE = 224


def prepare_images(root: Path, *, own_fold: bool) -> None:
    """Preprocess what is not preprocessed yet; an interrupted call is continued by the next.

    Each image of the split is scaled so that its shorter side has 224 pixels and its colours are made constant
    (:func:`constant_colours`), as FLamby does it. Folders that FLamby has preprocessed are left as they are.

    Args:
        root: holds the raw images and tables of the challenge, and the split file.
        own_fold: draw a split and write it to ``fedsim_split.csv``, if it is not there.

    Raises:
        ConfigError: a file is missing or damaged; the message names it and says where it is published.
    """
    if own_fold and not (root / OWN_SPLIT).is_file():
        with whole_or_not_at_all(root / OWN_SPLIT) as part:
            write_table(part, draw_split(root))
    names = [row["image"] for row in read_split_rows(split_file(root, own_fold=own_fold))]
    missing = [name for name in names if not (root / IMAGES / f"{name}.jpg").is_file()]
    if missing and not (root / RAW).is_dir():
        problem = f"there are neither {root / IMAGES / missing[0]}.jpg nor the raw images in {root / RAW}"
        raise ConfigError("root", problem, f"unpack {RAW}.zip from {ISIC_URL} there")
    try:
        (root / IMAGES).mkdir(exist_ok=True)
        for _ in in_threads(lambda name: _preprocess(root, name), missing, "preprocessing images"):
            pass
    except OSError as error:
        problem = f"cannot write {root / IMAGES}: {error.strerror or error}"
        raise ConfigError("root", problem, "make room there, or a folder that may be written") from None


def _preprocess(root: Path, name: str) -> None:
    pixels = read_rgb(root / RAW / f"{name}.jpg", None, f"unpack {RAW}.zip from {ISIC_URL} again")
    height, width = scaled(pixels.shape[0], pixels.shape[1], SHORT_SIDE)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    with whole_or_not_at_all(root / IMAGES / f"{name}.jpg") as part:
        Image.fromarray(constant_colours(np.asarray(image))).save(part)


def constant_colours(image: NDArray[np.uint8], power: float = 6) -> NDArray[np.uint8]:
    """The image [H, W, 3] as under white light, after the Shades of Grey algorithm (Finlayson & Trezzi 2004).

    The light's colour is estimated by the Minkowski mean e_c = (mean of I_c^power)^(1/power) of each channel, and
    each channel multiplied by ‖e‖ / (√3 e_c). Values above 255 stay 255 (in FLamby they wrap around).

    >>> constant_colours(np.full((2, 2, 3), [100, 50, 50], dtype=np.uint8))[0, 0].tolist()
    [70, 70, 70]
    """
    light = (image.astype(np.float64) ** power).mean(axis=(0, 1)) ** (1 / power)
    if not light.all():  # a channel without any light has no colour to correct
        return image
    factors = np.linalg.norm(light) / (np.sqrt(3) * light)
    return np.minimum(image * factors, 255).astype(np.uint8)
