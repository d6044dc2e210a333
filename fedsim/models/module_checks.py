"""Whether a module of a user's can be trained here: every mistake is one sentence that names file and class."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fedsim.errors import ConfigError, FedsimWarning
from fedsim.models.module_path import KEY, ModuleMaker
from fedsim.models.task import Task
from fedsim.models.weights import few

SAMPLES = 2
"""Inputs that a module is tried with."""


def require_module(made: object, maker: ModuleMaker) -> nn.Module:
    """ConfigError unless a module was made."""
    if not isinstance(made, nn.Module):
        problem = f"{maker.label} gives {type(made).__name__}, which is no torch.nn.Module"
        raise ConfigError(KEY, problem, "return the module")
    return made


def try_module(module: nn.Module, task: Task, maker: ModuleMaker) -> None:
    """Show the module two inputs; lazy layers get their shapes by it.

    Raises:
        ConfigError: it fails, or what it gives are no logits, or it has nothing to train; a parameter that its output
            does not depend on is a FedsimWarning.
    """
    _require_float32(module, maker)
    output = _output(module, task, maker)
    lazy = [name for name, tensor in module.state_dict(keep_vars=True).items() if is_lazy(tensor)]
    if lazy:
        problem = f"{maker.label} has lazy layers that its forward does not use ({few(lazy)})"
        raise ConfigError(KEY, problem, "use them, or leave them out")
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if not trained:
        raise ConfigError(KEY, f"{maker.label} has no parameters to train", "assign its layers to self in __init__")
    logits = _require_logits(output, task, maker)
    _warn_of_probabilities(logits, maker)
    _warn_of_unused(logits, trained, maker)


def _require_float32(module: nn.Module, maker: ModuleMaker) -> None:
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    other = [
        name
        for name, tensor in tensors.items()
        if tensor.dtype != torch.float32 and (isinstance(tensor, nn.Parameter) or tensor.dtype.is_floating_point)
    ]
    if other:
        kind = str(tensors[other[0]].dtype).removeprefix("torch.")
        problem = f"{maker.label} has {few(other)} in {kind}, and clients train in float32"
        raise ConfigError(KEY, problem, "leave out .double(), .half() and dtype=; for bfloat16 set runtime.amp")


def _output(module: nn.Module, task: Task, maker: ModuleMaker) -> object:
    tokens = task.vocabulary is not None
    inputs = torch.zeros(SAMPLES, *task.input_shape, dtype=torch.long if tokens else torch.float32)
    try:
        with torch.enable_grad():
            return module.eval()(inputs)
    except (Exception, SystemExit) as error:
        problem = f"{maker.label} cannot take {_in_words(task)}: {maker.reason(error)}"
        raise ConfigError(KEY, problem, "fit its layers to them: it is given input_shape if it asks for it") from None
    finally:
        module.train()


def _in_words(task: Task) -> str:
    what = "inputs" if task.vocabulary is None else "token ids"
    return f"{what} of shape {[SAMPLES, *task.input_shape]}"


def _require_logits(output: object, task: Task, maker: ModuleMaker) -> Tensor:
    if not isinstance(output, Tensor):
        raise ConfigError(KEY, f"{maker.label} returns {type(output).__name__}", "return the logits, one tensor")
    places = task.input_shape[:1] if task.per_token else ()
    wanted, shape = [SAMPLES, *places, task.num_classes], list(output.shape)
    if shape != wanted:
        problem = f"{maker.label} gives {shape} for {_in_words(task)} and {task.num_classes} classes, not {wanted}"
        raise ConfigError(KEY, problem, "build its last layer for num_classes, which it is given if it asks for it")
    if output.dtype != torch.float32:
        kind = str(output.dtype).removeprefix("torch.")
        raise ConfigError(KEY, f"{maker.label} returns {kind}", "return logits in float32, and not the classes")
    if not output.requires_grad:
        problem = f"what {maker.label} returns does not depend on its parameters"
        raise ConfigError(KEY, problem, "leave out no_grad, detach and .data")
    return output


def _warn_of_probabilities(logits: Tensor, maker: ModuleMaker) -> None:
    if logits.is_meta:
        return  # has no values
    sums = logits.detach().sum(-1)
    if logits.min() >= 0 and torch.allclose(sums, torch.ones_like(sums), atol=1e-5):
        text = f"{maker.label} seems to return probabilities, and losses expect logits: leave out its softmax"
        warnings.warn(text, FedsimWarning, stacklevel=2)


def _warn_of_unused(logits: Tensor, trained: dict[str, nn.Parameter], maker: ModuleMaker) -> None:
    gradients = torch.autograd.grad(logits.sum(), list(trained.values()), allow_unused=True)
    unused = [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]
    if unused:
        text = f"{maker.label}: {few(unused)} take no part in its output, and their updates will be zero"
        warnings.warn(f"{text}; leave them out, or name them in model.freeze", FedsimWarning, stacklevel=2)
