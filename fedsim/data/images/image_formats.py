"""Which files are images: those whose suffix is one of a format that Pillow, as it is installed, can decode."""

from pathlib import Path

from PIL import Image, features

COMMON = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM")
"""Decoders that are let near every image, for suffixes are often wrong."""

NOT_DECODED = frozenset({"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"})
"""Formats that Pillow lists and cannot decode by itself: it starts another program, or has no decoder at all."""

OTHER_SUFFIXES = {".mpo": "JPEG"}
"""Suffixes that Pillow lists for writing only, and the format that reads them."""


def format_of_suffix() -> dict[str, str]:
    """The format of each suffix (in lower case) that can be read; plugins of Pillow may have added some.

    >>> format_of_suffix()[".jfif"], ".eps" in format_of_suffix()
    ('JPEG', False)
    """
    known = {**Image.registered_extensions(), **OTHER_SUFFIXES}
    return {suffix: name for suffix, name in known.items() if name in Image.OPEN and _is_decoded(name)}


def decoders_for(file: Path) -> tuple[str, ...]:
    """Formats as which a file may be opened: the common ones, and that of its suffix.

    Pillow's other decoders are let near no file that does not ask for them.
    """
    own = format_of_suffix().get(file.suffix.lower())
    return COMMON if own is None or own in COMMON else (*COMMON, own)


def _is_decoded(name: str) -> bool:
    return name not in NOT_DECODED and (name != "JPEG2000" or bool(features.check("jpg_2000")))
