"""fedsim: federated learning under Byzantine attack, simulated on torch.distributed."""

__version__ = "0.1.0"
