"""What a run leaves behind: run directory, metrics, TensorBoard events, console, logs."""
