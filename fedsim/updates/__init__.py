"""The update matrix and its mathematics: what aggregators and attacks compute with."""
