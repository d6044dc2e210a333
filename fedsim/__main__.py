"""``python -m fedsim``, ``torchrun -m fedsim`` and the command ``fedsim``: the same as ``fedsim/main.py``."""

import sys

from fedsim.systems import require_posix

require_posix()

from fedsim.standard_streams import keep_standard_streams
from fedsim.stop_request import stop_with_the_launcher

keep_standard_streams()  # before the seconds that the other imports take, and before a file is opened
stop_with_the_launcher()

from fedsim.main import main


def run() -> int:
    """The exit status."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
