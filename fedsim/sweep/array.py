"""Cells as SLURM array jobs: one, or as many as it takes where SLURM limits their size."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedsim.errors import ConfigError
from fedsim.files import as_typed, write_text
from fedsim.sweep.on_site import SCRIPT, clone, on_site
from fedsim.sweep.plan import Cell, Sweep
from fedsim.sweep.runner import keep_config, plugin_words
from fedsim.sweep.submitted import remember

MAX_ARRAY_SIZE = 1001
"""SLURM's default."""


@dataclass(frozen=True)
class ArrayJob:
    """What is typed to submit an array of so many cells, which are named in a listing."""

    command: Sequence[str]
    num_cells: int
    listing: Path

    def submit(self) -> str:
        """Submit with what ``slurm/site.env`` says; the job's number, which is noted beside the listing.

        Raises:
            ConfigError: SLURM refuses, or is not here.
        """
        done = on_site(self.command)
        if done.returncode != 0:
            raise ConfigError("--slurm", done.stderr.strip() or "sbatch failed", "see slurm/site.env")
        job = done.stdout.strip()
        remember(self.listing, job)
        return job.partition(";")[0]  # "17;cluster" where there are several clusters


def array_jobs(
    sweep: Sweep, cells: Sequence[Cell], throttle: int | None, options: Sequence[str], plugins: Sequence[Path]
) -> Iterator[ArrayJob]:
    """Arrays of the cells, none larger than SLURM allows; which task runs which is written beside its records.

    Args:
        throttle: tasks at a time, of all arrays together as far as each may have one.
        options: of sbatch.
    """
    largest, now = max_array_size(), time.strftime("%Y%m%d-%H%M%S")
    parts = [cells[first : first + largest] for first in range(0, len(cells), largest)]
    for number, part in enumerate(parts):
        listing = sweep.folder / "cells" / f"array-{now}-{os.getpid()}{f'-{number + 1}' * (len(parts) > 1)}.txt"
        at_a_time = None if throttle is None else max(1, (throttle + number) // len(parts))
        yield ArrayJob(_command(sweep, part, listing, at_a_time, options, plugins), len(part), listing)


def _command(
    sweep: Sweep,
    cells: Sequence[Cell],
    listing: Path,
    at_a_time: int | None,
    options: Sequence[str],
    plugins: Sequence[Path],
) -> list[str]:
    write_text(listing, "".join(f"{as_typed(keep_config(sweep, cell).resolve())}\n" for cell in cells))
    limit = "" if at_a_time is None else f"%{at_a_time}"
    outputs = sweep.folder.resolve() / "cells" / "%A_%a.out"
    more = plugin_words(sweep, [plugin.resolve() for plugin in plugins])
    array = [f"--array=0-{len(cells) - 1}{limit}", f"--output={outputs}", "--parsable", *options]
    return ["sbatch", *array, str(clone() / SCRIPT), str(listing.resolve()), *more]


def max_array_size() -> int:
    """How many tasks an array may have here; SLURM's default where it cannot be asked.

    Raises:
        ConfigError: SLURM allows no arrays.
    """
    said = on_site(["scontrol", "show", "config"]).stdout
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", said, re.MULTILINE)
    largest = int(match[1]) if match else MAX_ARRAY_SIZE
    if largest < 1:
        raise ConfigError("--slurm", "this SLURM allows no array jobs (MaxArraySize=0)", "run the cells without it")
    return largest
