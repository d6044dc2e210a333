"""Runs code as if on a GPU, on a machine without one, and counts what a GPU would wait for.

Values are those of real CPU tensors, so control flow that depends on data goes its way. Which memory belongs to the
pretended GPU is kept by storage: views live where their base does. Above torch's dispatcher the devices that code
asks for (``device=``, ``.to``, ``.cpu``) are taken away and remembered, and ``.device`` answers by memory; below it
every operation is checked and counted:

- an operation on two devices is refused, as torch would; a CPU tensor without a dimension is a number to both;
- what makes the CPU wait for the GPU (``item``, a copy without ``non_blocking``, a size that depends on values);
- launches: at least one kernel for each operation that is no view;
- operations that raise under ``torch.use_deterministic_algorithms(True)``;
- the peak of memory.

    with PretendCuda() as gpu:
        rows = torch.randn(8, 1000, device="cuda")
        aggregator(rows)
    gpu.waits, gpu.launches, gpu.peak_bytes
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")

PACKAGE = "/fedsim/"

WAITS_FOR_VALUES = {  # their result, or its size, depends on values
    "aten::_local_scalar_dense",
    "aten::_linalg_check_errors",
    "aten::bincount",
    "aten::equal",
    "aten::masked_select",
    "aten::nonzero",
    "aten::repeat_interleave",
    "aten::unique_consecutive",
    "aten::unique_dim",
    "aten::_unique",
    "aten::_unique2",
}

NOT_DETERMINISTIC = {  # on CUDA, by torch's list for use_deterministic_algorithms
    "aten::_adaptive_avg_pool2d_backward",
    "aten::adaptive_max_pool2d_backward",
    "aten::grid_sampler_2d_backward",
    "aten::histc",
    "aten::kthvalue",
    "aten::median.dim",
    "aten::nanmedian.dim",
    "aten::nll_loss2d_forward",
    "aten::put_",
    "aten::reflection_pad1d_backward",
    "aten::reflection_pad2d_backward",
    "aten::upsample_bicubic2d_backward",
    "aten::upsample_bilinear2d_backward",
    "aten::upsample_linear1d_backward",
}

INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_unsafe_index"}
"""They take indices from the CPU, and copy them to the GPU first."""


class MixedDevicesError(RuntimeError):
    """One operation on two devices."""


class PretendCuda:
    """A context in which "cuda" is memory of its own.

    Attributes:
        waits: how often the CPU would wait, by place and reason.
        launches: of each operation, on the GPU.
        alerts: operations that a deterministic run refuses.
        live_bytes, peak_bytes: of the GPU's memory.
        bytes_before: what was live at the last reset.
    """

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.alerts: Counter[str] = Counter()
        self.live_bytes = self.peak_bytes = self.bytes_before = 0
        self.wanted: str | None = None  # the device that the present call asks for
        self.memory: dict[int, Any] = {}  # storages of the GPU
        self._modes = ExitStack()

    def __enter__(self) -> PretendCuda:
        self._modes.enter_context(_Below(self))
        self._modes.enter_context(_Above(self))
        return self

    def __exit__(self, *failure: object) -> None:
        self._modes.close()

    def reset(self) -> None:
        """Count from here."""
        for counter in (self.waits, self.launches, self.alerts):
            counter.clear()
        self.peak_bytes = self.bytes_before = self.live_bytes

    def device_of(self, tensor: Tensor) -> str:
        return "cuda" if tensor.untyped_storage()._cdata in self.memory else "cpu"

    def put(self, tensor: Tensor) -> Tensor:
        """Let the tensor's memory be the GPU's from now on."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.memory:
            self.live_bytes += size
            self.peak_bytes = max(self.peak_bytes, self.live_bytes)

            def free() -> None:
                self.memory.pop(key, None)
                self.live_bytes -= size

            self.memory[key] = weakref.finalize(storage, free)  # views keep a storage alive, not a tensor
        return tensor

    def wait(self, reason: str) -> None:
        self.waits[f"{_place()} {reason}"] += 1


class _Above(TorchFunctionMode):
    """What code asks for, before torch sees it."""

    def __init__(self, gpu: PretendCuda) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs, gpu, name = dict(kwargs or {}), self._gpu, func.__name__
        if name == "__get__":
            return self._attribute(func, args)
        if func is torch.device or name == "_parse_to":  # of Module.to, which then asks tensor by tensor
            return func(*args, **kwargs)
        if name in ("pin_memory", "record_stream"):  # of real memory, by a driver
            return args[0] if name == "pin_memory" else None
        if name == "tolist" and gpu.device_of(args[0]) == "cuda":
            gpu.wait("tolist")
        if name == "numpy" and gpu.device_of(args[0]) == "cuda":
            raise MixedDevicesError(f"{_place()}: numpy() of a tensor on the GPU")
        if name in ("to", "cpu", "cuda", "type_as"):
            return self._move(func, args, kwargs)
        gpu.wanted = _wanted(args, kwargs)
        if any(isinstance(one, torch.Generator) for one in (*args, *kwargs.values())):
            self._check_generator(args)
        try:
            result = func(*_on_cpu(args), **dict(zip(kwargs, _on_cpu(kwargs.values()), strict=True)))
        finally:
            wanted, gpu.wanted = gpu.wanted, None
        if name in ("tensor", "as_tensor") and wanted == "cuda" and gpu.device_of(result) == "cpu":
            gpu.wait("copy to the GPU")
            gpu.put(result)
        return result

    def _attribute(self, func: Callable[..., Any], args: Sequence[Any]) -> Any:
        attribute = getattr(func.__self__, "__name__", "")  # type: ignore[attr-defined]
        if attribute == "device":
            return GPU if self._gpu.device_of(args[0]) == "cuda" else CPU
        if attribute in ("is_cuda", "is_cpu"):
            return self._gpu.device_of(args[0]) == attribute.removeprefix("is_")
        return func(*args)

    def _move(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        gpu, tensor, name = self._gpu, args[0], func.__name__
        before = gpu.device_of(tensor)
        others = [one for one in (*args[1:], *kwargs.values()) if isinstance(one, Tensor)]
        named = name if name in ("cpu", "cuda") else _wanted(args[1:], kwargs)
        wanted = gpu.device_of(others[0]) if others else named or before
        if name == "cuda":
            moved: Tensor = tensor
        else:
            moved = func(*_on_cpu(args), **dict(zip(kwargs, _on_cpu(kwargs.values()), strict=True)))
        if wanted == before:
            return moved
        moved = _copy(moved)
        if wanted == "cpu" or not kwargs.get("non_blocking"):
            gpu.wait(f"copy to the {wanted}")
        return gpu.put(moved) if wanted == "cuda" else moved

    def _check_generator(self, args: Sequence[Any]) -> None:
        if self._gpu.wanted == "cuda" or any(self._gpu.device_of(one) == "cuda" for one in _tensors(args)):
            raise MixedDevicesError(f"{_place()}: a generator on the CPU draws a tensor on the GPU")


class _Below(TorchDispatchMode):
    """What torch does: checks and counts operations."""

    def __init__(self, gpu: PretendCuda) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        gpu, kwargs = self._gpu, kwargs or {}
        inputs = _tensors([*args, *kwargs.values()])
        storages = [one.untyped_storage()._cdata for one in inputs]
        places = [storage in gpu.memory for storage in storages]
        if any(places):
            sized = {place for one, place in zip(inputs, places, strict=True) if one.ndim > 0}
            self._look_at(func._schema, args, mixed=len(sized) > 1)
        result = func(*args, **kwargs)
        if not (gpu.wanted == "cuda" if gpu.wanted else any(places)):
            return result
        fresh = [one for one in _tensors([result]) if one.untyped_storage()._cdata not in storages]
        if (fresh and not func._schema.name.startswith("aten::empty")) or func._schema.is_mutable:
            gpu.launches[func._schema.name] += 1
        for one in fresh:
            gpu.put(one)
        return result

    def _look_at(self, schema: Any, args: Sequence[Any], *, mixed: bool) -> None:
        gpu, operation = self._gpu, schema.name
        if not NOT_DETERMINISTIC.isdisjoint((operation, f"{operation}.{schema.overload_name}")):
            gpu.alerts[f"{_place()} {operation}"] += 1
        if operation in WAITS_FOR_VALUES:
            gpu.wait(operation)
        if operation == "aten::copy_":
            target, source = (gpu.device_of(one) for one in args[:2])
            if target != source and (target == "cpu" or not (len(args) > 2 and args[2])):
                gpu.wait(f"copy to the {target}")
        elif operation in INDEXING:
            self._look_at_indices(operation, args)
        elif mixed:
            raise MixedDevicesError(f"{_place()}: {operation} on the CPU and the GPU")

    def _look_at_indices(self, operation: str, args: Sequence[Any]) -> None:
        gpu, indices = self._gpu, [one for one in args[1] if one is not None]
        masks = [one for one in indices if one.dtype == torch.bool]
        filled = operation.startswith("aten::index_put") and len(indices) == 1 and args[2].numel() == 1
        if masks and not filled:  # writing one number under a mask needs no indices
            gpu.wait("mask as index")
        if gpu.device_of(args[0]) == "cpu":
            raise MixedDevicesError(f"{_place()}: {operation} of a tensor on the CPU by indices on the GPU")
        if any(gpu.device_of(one) == "cpu" for one in indices):
            gpu.wait("copy of indices to the GPU")
        if operation.startswith("aten::index_put") and args[2].ndim > 0 and gpu.device_of(args[2]) == "cpu":
            raise MixedDevicesError(f"{_place()}: {operation} writes values of the CPU to the GPU")


def _copy(tensor: Tensor) -> Tensor:
    """The same values in memory of their own, unseen by the modes."""
    with torch._C._DisableTorchDispatch(), torch.no_grad():
        return tensor.clone()


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    """The tensors among the values, and in lists of them."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [one for one in value if isinstance(one, Tensor)]
    return found


def _place() -> str:
    """The innermost line of the package that led here."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if PACKAGE in file and "site-packages" not in file:
            return f"{file.rsplit(PACKAGE, 1)[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return "test"


def _wanted(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """The device that a call names."""
    for value in (*args, *kwargs.values()):
        if _names_device(value):
            return torch.device(value).type
    return None


def _names_device(value: Any) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] in ("cuda", "cpu"))


def _on_cpu(values: Any) -> list[Any]:
    """The arguments with the CPU in the place of the GPU."""
    return [CPU if _names_device(value) else value for value in values]
