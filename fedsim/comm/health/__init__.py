"""Ranks report to each other what they do, so that a dead, stopped or late one is named at once."""
