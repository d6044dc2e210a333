"""The pages of ``docs/`` that fedsim writes itself."""
