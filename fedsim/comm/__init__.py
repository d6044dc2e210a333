"""Transport: the only package that talks to torch.distributed, with a one-process twin."""

from fedsim.comm.communicator import Communicator, SingleProcess
from fedsim.comm.health.monitor import Alarm, Watch
from fedsim.comm.health.rank_status import Standing
from fedsim.comm.place import RankPlace
from fedsim.comm.process_group import ProcessGroup, open_communicator
from fedsim.comm.rows import RowTransport

__all__ = [
    "Alarm",
    "Communicator",
    "ProcessGroup",
    "RankPlace",
    "RowTransport",
    "SingleProcess",
    "Standing",
    "Watch",
    "open_communicator",
]
