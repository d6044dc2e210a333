"""Transport: the only package that talks to torch.distributed, with a one-process twin."""

from fedsim.comm.communicator import Communicator, SingleProcess
from fedsim.comm.place import RankPlace
from fedsim.comm.process_group import ProcessGroup, open_communicator
from fedsim.comm.rows import RowTransport

__all__ = ["Communicator", "ProcessGroup", "RankPlace", "RowTransport", "SingleProcess", "open_communicator"]
