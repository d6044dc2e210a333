"""Texts as sequences of characters."""
