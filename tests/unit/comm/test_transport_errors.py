"""What is kept of errors that gloo and NCCL have raised for others."""

import pytest

from fedsim.comm.transport_errors import telling_lines

WHERE = """Exception raised from getNCCLComm at /opt/pytorch/torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1287
frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x6b (0x7f in libc10.so)
"""

SYSTEM = """NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.hpp:268, unhandled system error (run with \
NCCL_DEBUG=INFO for details), NCCL version 2.21.5
ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.\x20
Last error:
Error while creating shared memory segment /dev/shm/nccl-LeXlEJ (size 9637888)"""

USAGE = f"""NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.hpp:275, invalid usage, NCCL version 2.19.3
ncclInvalidUsage: This usually reflects invalid usage of NCCL library.
Last error:
Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 2000
{WHERE}"""

SILENT = f"""NCCL error in: ProcessGroupNCCL.cpp:1, unhandled cuda error, NCCL version 2.19.3
ncclUnhandledCudaError: Call to CUDA function failed.
Last error:

{WHERE}"""

ON_ONE_LINE = """NCCL error: remote process exited or there was a network error, NCCL version 2.27.3
ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.
Last error: socketProgress: Connection closed by remote peer node2<40210>"""


@pytest.mark.parametrize(
    ("error", "begins", "ends"),
    [
        (
            SYSTEM,
            "NCCL error in: ",
            "5; Error while creating shared memory segment /dev/shm/nccl-LeXlEJ (size 9637888)",
        ),
        (USAGE, "NCCL error in: ", "3; Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 2000"),
        (SILENT, "NCCL error in: ProcessGroupNCCL.cpp:1, ", "NCCL version 2.19.3"),
        (ON_ONE_LINE, "NCCL error: remote ", "3; socketProgress: Connection closed by remote peer node2<40210>"),
        ("\n[../third_party/gloo/pair.cc:534] Connection closed by peer [10.0.0.1]:2", "[../third", "[10.0.0.1]:2"),
        ("", "RuntimeError", "RuntimeError"),
    ],
)
def test_of_an_error_its_kind_and_its_cause_are_kept(error: str, begins: str, ends: str) -> None:
    said = telling_lines(RuntimeError(error))
    assert "\n" not in said
    assert said.startswith(begins)
    assert said.endswith(ends)
    assert "frame #" not in said
    assert "Exception raised" not in said
