"""Many runs from one file: ``python -m fedsim.sweep FILE``."""
