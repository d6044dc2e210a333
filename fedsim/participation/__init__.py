"""Who does what in a round: which clients take part, which of them attack, and which rank hosts whom."""
