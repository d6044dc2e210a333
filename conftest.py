"""Components register themselves once: pytest, given one of their files, must find the package imported already."""

import fedsim.build.components  # noqa: F401 - imports every registry's package

collect_ignore_glob = [
    "fedsim/benchmark/peers/flower_*.py",  # they import an extra, and have no examples
    "fedsim/templates/*.py",  # plugins, which tests/unit/test_new.py writes and runs
]
