"""What rank 0 does with the rows of a round: adversary, non-finite policy, defence, server optimiser."""
