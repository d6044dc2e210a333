"""Transport: the only package that talks to torch.distributed, with a one-process twin."""

from fedsim.comm.communicator import Communicator, SingleProcess
from fedsim.comm.health.monitor import Monitor, RankFailureHandler
from fedsim.comm.health.rank_status import RankStatus
from fedsim.comm.place import RankPlace
from fedsim.comm.process_group import ProcessGroup, open_communicator
from fedsim.comm.rows import RowTransport

__all__ = [
    "Communicator",
    "Monitor",
    "ProcessGroup",
    "RankFailureHandler",
    "RankPlace",
    "RankStatus",
    "RowTransport",
    "SingleProcess",
    "open_communicator",
]
