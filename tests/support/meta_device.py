"""Tensors without values, in place of those on a GPU: whoever would have to wait for a value gets an error."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")


class CopiesToMeta(TorchDispatchMode):
    """Counts copies from the CPU to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket is torch.ops.aten._to_copy:
            self.count += args[0].device.type == "cpu" and result.device.type == "meta"
        if function.overloadpacket is torch.ops.aten.copy_:
            self.count += args[1].device.type == "cpu" and args[0].device.type == "meta"
        return result
