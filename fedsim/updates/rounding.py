"""When two float64 sums count as equal."""

TIE = 1e-12
"""Sums that differ by less than this share of their size differ by rounding only, and are tied."""
