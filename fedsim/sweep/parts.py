"""A sweep that is run in parts, by ``--only``: its tables hold what all parts have found."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from fedsim.errors import ConfigError
from fedsim.sweep.cells import Progress, progress_of
from fedsim.sweep.plan import Sweep


def with_other_parts(
    part: Sweep, cells: Sequence[Progress], read_whole: Callable[[], Sweep]
) -> tuple[Sweep, Sequence[Progress]]:
    """The cells of a part and those of the whole sweep that have been run, in the order of the whole.

    Where the whole cannot be read, for a mistake in another cell, or has other cells by now, it is the part alone.
    """
    try:
        whole = read_whole()
    except ConfigError:
        return part, cells
    of_part = {one.cell.config_hash: one for one in cells}
    if not of_part.keys() <= {cell.config_hash for cell in whole.cells}:
        return part, cells
    everything = [of_part.get(cell.config_hash) or progress_of(cell, whole.folder) for cell in whole.cells]
    met = [one for one in everything if one.cell.config_hash in of_part or one.state != "pending"]
    axes = {
        axis: [label for label in labels if any(one.cell.labels[axis] == label for one in met)]
        for axis, labels in whole.axes.items()
    }
    return replace(whole, axes=axes, cells=[one.cell for one in met]), met
