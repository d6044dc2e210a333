"""LEAF's files of FEMNIST as arrays that every rank maps."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fedsim.data.formats.leaf import User, read_users
from fedsim.data.storage.cache import reserve_array
from fedsim.errors import ConfigError

SHAPE = (1, 28, 28)
PIXELS = 28 * 28
ARRAYS = ("images", "labels", "writers", "names", "ends")

ROUNDED = 0.01
"""Grey levels by which a number may differ from a whole one, as where it was kept with fewer digits."""


def convert_users(sides: Sequence[Sequence[Path]], classes: int, folder: Path, repair: str) -> None:
    """Read files one by one and write :data:`ARRAYS` into ``folder``.

    These are images uint8 [N, 1, 28, 28], labels [N], the number of each sample's writer [N], the writers' names [W]
    in sorted order, and how many samples there are up to the end of each side.

    Args:
        sides: the files of each side.
        repair: what the user does about a damaged file, in words.

    Raises:
        ConfigError: a file is damaged; the message names it.
    """
    labels: list[NDArray[np.uint8]] = []
    writers: list[str] = []
    ends: list[int] = []
    pixels = folder / "pixels"  # a .npy file says at its beginning how many there are, which is not known yet
    with pixels.open("wb") as file:
        for side in sides:
            for path, user in _users(side, repair):
                try:
                    file.write(_bytes(user).tobytes())
                    labels.append(_labels(user, classes))
                except ValueError as error:
                    raise ConfigError("root", f"{path} is not usable: {error}", repair) from None
                writers += [user.name] * len(user.y)
            if len(writers) == (ends[-1] if ends else 0):
                raise ConfigError("root", f"the files in {side[0].parent} hold no samples", repair)
            ends.append(len(writers))
    images = reserve_array(folder / "images.npy", (len(writers), *SHAPE))
    images.reshape(-1)[:] = np.memmap(pixels, dtype=np.uint8, mode="r")
    pixels.unlink()
    names, numbers = np.unique(np.array(writers, dtype=np.str_), return_inverse=True)
    np.save(folder / "labels.npy", np.concatenate(labels))
    np.save(folder / "writers.npy", numbers.astype(np.int32))
    np.save(folder / "names.npy", names)
    np.save(folder / "ends.npy", np.array(ends))


def _users(files: Sequence[Path], repair: str) -> Iterator[tuple[Path, User]]:
    for path in tqdm(files, desc="reading JSON files", delay=2, mininterval=1):
        for user in read_users(path, repair):
            if len(user.y):
                yield path, user


def _bytes(user: User) -> NDArray[np.uint8]:
    """The images of a writer as bytes [n, 784]; they are stored divided by 255.

    Raises:
        ValueError: there are other numbers among them.
    """
    try:
        values = np.array(user.x, dtype=np.float64)
    except (ValueError, TypeError):  # rows of several lengths, or no numbers
        values = np.empty(0)
    if values.shape != (len(user.y), PIXELS):
        raise ValueError(f"not every image of writer '{user.name}' has {PIXELS} numbers")
    with np.errstate(invalid="ignore"):  # infinite ones
        grey = np.rint(255 * values)
        exact = (np.abs(255 * values - grey) <= ROUNDED) & (grey >= 0) & (grey <= 255)
    if not exact.all():
        wrong = values[~exact][0]
        raise ValueError(
            f"{wrong:g} in an image of writer '{user.name}' is no grey level from 0 to 255, divided by 255"
        )
    return grey.astype(np.uint8)


def _labels(user: User, classes: int) -> NDArray[np.uint8]:
    for label in user.y:
        if type(label) is not int or not 0 <= label < classes:
            raise ValueError(f"label {label!r} of writer '{user.name}' is not from 0 to {classes - 1}")
    return np.array(user.y, dtype=np.uint8)
