"""What is written while a run goes on: metrics, TensorBoard events, pictures, console, logs, summary."""
