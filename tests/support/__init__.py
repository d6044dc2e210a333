"""What several tests use: `from support.NAME import ...` in tests, and in scripts that tests start."""
