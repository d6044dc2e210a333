"""How fast fedsim is, always against a yardstick that runs beside it: ``python -m fedsim.benchmark --help``."""
