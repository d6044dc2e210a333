"""``python -m fedsim``, ``torchrun -m fedsim`` and the command ``fedsim``: the same as ``fedsim/main.py``.

``fedsim new``, ``fedsim sweep`` and the like are the tools of these names, as ``python -m fedsim.new``.
"""

import importlib
import sys

from fedsim.systems import require_posix

require_posix()

from fedsim.standard_streams import keep_standard_streams
from fedsim.stop_request import stop_with_the_launcher

TOOLS = {
    "benchmark": "fedsim.benchmark.__main__",
    "docs": "fedsim.docs.__main__",
    "new": "fedsim.new",
    "prepare": "fedsim.prepare",
    "ranks": "fedsim.ranks",
    "report": "fedsim.report.__main__",
    "sweep": "fedsim.sweep.__main__",
}

keep_standard_streams()  # before the seconds that the other imports take, and before a file is opened
stop_with_the_launcher()


def run() -> int:
    """The exit status."""
    word, arguments = "".join(sys.argv[1:2]), sys.argv[1:]
    module = importlib.import_module(TOOLS.get(word, "fedsim.main"))
    status: int = module.main(arguments[1:] if word in TOOLS else arguments)
    return status


if __name__ == "__main__":
    sys.exit(run())
