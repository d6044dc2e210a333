"""More ranks than cores: what to type instead, for the same bits sooner."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from fedsim.comm import RankPlace
from fedsim.errors import counted


def fewer_ranks(place: RankPlace, cores: int, clients: int, typed: Sequence[str]) -> str | None:
    """The notice of a run on CPUs whose ranks on this host are more than its cores; None where they are not.

    Args:
        cores: of this host that the ranks may use.
        clients: how many ranks can have clients.
        typed: the program and its arguments.

    >>> fewer_ranks(RankPlace(0, 8, 0, 8), cores=2, clients=8, typed=["fedsim/main.py", "rounds=3"])
    '8 ranks share 2 cores; 2 ranks give the same bits sooner: torchrun --nproc_per_node=2 fedsim/main.py rounds=3'
    >>> fewer_ranks(RankPlace(0, 8, 0, 8), cores=8, clients=5, typed=["fedsim/main.py"])
    """
    if place.local_size <= cores:
        return None
    ranks = max(1, min(cores, clients))
    shared = f"{place.local_size} ranks share {counted(cores, 'core')}"
    if place.size > place.local_size:
        return f"{shared} of a host; with --nproc_per_node={ranks} there, the same bits come sooner"
    launcher = "python" if ranks == 1 else f"torchrun --nproc_per_node={ranks}"
    give = "1 rank gives" if ranks == 1 else f"{ranks} ranks give"
    return f"{shared}; {give} the same bits sooner: {launcher} {_program(typed)}"


def _program(typed: Sequence[str]) -> str:
    """What follows the launcher; the file of a module is not what was typed."""
    program, *arguments = typed
    words = ["-m", "fedsim"] if Path(program).name == "__main__.py" else [program]
    return shlex.join([*words, *arguments])
