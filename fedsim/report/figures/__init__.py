"""Figures of a report, one kind per file: each function returns a matplotlib figure, and draws nothing by itself."""
