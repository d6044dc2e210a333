"""The directory of a run: its name and lock, checkpoints, facts of the launch, how it failed, what is damaged."""
