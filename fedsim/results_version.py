"""Which results this code gives: when it is raised is said in CONTRIBUTING.md."""

RESULTS_VERSION = 5
"""Raised when the same configuration gives other results than before, on purpose.

What was computed before is then neither resumed nor counted as a cell of a sweep. It is not the package's version.
"""

FIRST = 1
"""Of runs that are older than this number."""
