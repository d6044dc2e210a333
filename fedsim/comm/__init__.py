"""Transport: the only package that talks to torch.distributed, with a one-process twin."""

from fedsim.comm.communicator import Communicator, SingleProcess
from fedsim.comm.place import RankPlace
from fedsim.comm.process_group import ProcessGroup, open_communicator
from fedsim.comm.rows import RowTransport
from fedsim.comm.standing import Standing
from fedsim.comm.watch import Alarm, Watch

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
