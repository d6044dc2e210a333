"""Fetching a data set where there is a network: whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from fedsim.errors import ConfigError


def fetch(root: Path, folder: str, download: Callable[[str], object], name: str) -> None:
    """Let ``download`` fill a folder of its own, and move ``folder`` from there to ``root`` when it is whole.

    Raises:
        ConfigError: ``root`` cannot be written, there is no network, what came is damaged, or ``folder`` is there.
    """
    if (root / folder).exists():
        raise ConfigError("root", f"{root / folder} is not whole", "remove or complete it")
    part = root / f".{folder}.{secrets.token_hex(4)}.part"
    try:
        part.mkdir(parents=True)
        download(str(part))
        os.rename(part / folder, root / folder)
    except Exception as error:  # archives that are cut off raise nearly everything
        remedy = f"fetch it elsewhere and unpack it, so that there is {root / folder}"
        raise ConfigError("root", f"cannot fetch {name}: {error}", remedy) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
