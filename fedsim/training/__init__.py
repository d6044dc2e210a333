"""A client's local work: local steps, optimisers, losses and schedules, frozen parameters, poisoned labels."""
