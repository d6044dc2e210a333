"""A report on runs and sweeps: ``python -m fedsim.report DIRECTORY...``."""
