"""How a run ends when something goes wrong: one clear sentence, and every rank leaves."""
