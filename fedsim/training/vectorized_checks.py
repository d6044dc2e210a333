"""What cannot be trained several clients at once, found before the first round and named."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from fedsim.errors import ConfigError
from fedsim.seeds import derive_generator, seeded
from fedsim.training.freezing import set_training
from fedsim.training.optimizers import MakeOptimizer
from fedsim.updates.model_rows import trainable_parameters

KEY = "clients.vectorize"
ONE_BY_ONE = "set clients.vectorize: 1"
TOLERANCE = 1e-4


def require_elementwise(make_optimizer: MakeOptimizer, name: str) -> None:
    """Run the optimiser on two clients at once, and on each alone.

    Raises:
        ConfigError: the results differ, as where a norm of a tensor or its rows and columns count.

    >>> require_elementwise(torch.optim.Adam, "adam")
    >>> require_elementwise(torch.optim.Adafactor, "adafactor")
    Traceback (most recent call last):
    fedsim.errors.ConfigError: clients.vectorize: the optimiser adafactor does not step each value by its own ...
    """
    generator = derive_generator(0, "vectorized optimiser")
    values = torch.randn(2, 6, generator=generator)
    gradients = torch.randn(3, 2, 6, generator=generator) * torch.tensor([[0.1], [10.0]])  # of 3 steps
    together = _after_steps(make_optimizer, [values], [[gradient] for gradient in gradients])[0]
    for client in range(2):
        parts = [[gradient[client, :4].view(2, 2), gradient[client, 4:]] for gradient in gradients]
        alone = _after_steps(make_optimizer, [values[client, :4].view(2, 2), values[client, 4:]], parts)
        if not torch.allclose(together[client], torch.cat([part.flatten() for part in alone]), atol=TOLERANCE):
            problem = f"the optimiser {name} does not step each value by its own gradients alone"
            raise ConfigError(KEY, problem, f"take another, such as adam, or {ONE_BY_ONE}")


def _after_steps(
    make_optimizer: MakeOptimizer, values: Sequence[Tensor], gradients: Sequence[Sequence[Tensor]]
) -> list[Tensor]:
    parameters = [value.clone().requires_grad_() for value in values]
    optimizer = make_optimizer(parameters)
    for of_step in gradients:
        for parameter, gradient in zip(parameters, of_step, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def require_vectorizable(model: nn.Module, input_shape: tuple[int, ...], *, token_ids: bool = False) -> None:
    """Try a step of one client with two samples; the model may lie on the device ``meta``.

    Args:
        input_shape: of one sample.
        token_ids: whether inputs are whole numbers.

    Raises:
        ConfigError: a module draws at random, changes buffers or mixes the samples of a batch, a parameter takes no
            part, or torch.func cannot do it.
    """
    set_training(model)
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            raise _refusal(path, module, "normalises by its batch")
    parameters = {name: value.detach()[None].requires_grad_() for name, value in trainable_parameters(model).items()}
    device = next(iter(parameters.values())).device
    dtype = torch.int64 if token_ids else torch.float32
    inputs = torch.zeros(1, 2, *input_shape, device=device, dtype=dtype)
    with _modules_entered(model) as entered, seeded(0, device), device:  # new tensors, too, are meta then
        try:
            _require_same_buffers(model, inputs[0])
            logits = vmap(lambda own, x: functional_call(model, own, (x,)))(parameters, inputs)
            gradients = torch.autograd.grad(logits.sum(), list(parameters.values()), allow_unused=True)
        except ConfigError:
            raise
        except Exception as error:  # of a module, in the words of torch
            raise _refusal(*(entered[-1] if entered else ("", model)), _reason(error)) from error
    for name, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            problem = f"the parameter '{name}' takes no part in what the model computes"
            raise ConfigError(KEY, problem, f"freeze it (model.freeze), or {ONE_BY_ONE}")


@torch.no_grad()
def _require_same_buffers(model: nn.Module, inputs: Tensor) -> None:
    before = {name: (buffer, buffer._version) for name, buffer in model.named_buffers()}
    model(inputs)
    for name, buffer in model.named_buffers():
        known, version = before.get(name, (None, 0))
        if buffer is not known or buffer._version != version:
            path = name.rpartition(".")[0]
            raise _refusal(path, model.get_submodule(path), "changes its buffers")


@contextmanager
def _modules_entered(model: nn.Module) -> Iterator[list[tuple[str, nn.Module]]]:
    """The modules whose forward pass has begun and not ended, with their paths; the innermost last."""
    entered: list[tuple[str, nn.Module]] = []
    hooks = []
    for path, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda one, _, path=path: entered.append((path, one))))
        hooks.append(module.register_forward_hook(lambda *_: (entered.pop(), None)[1]))
    try:
        yield entered
    finally:
        for hook in hooks:
            hook.remove()


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "random operation" in text:
        return "draws at random"
    return f"cannot be vectorised: {text[:200]}"


def _refusal(path: str, module: nn.Module, reason: str) -> ConfigError:
    where = f"the module '{path}' ({type(module).__name__})" if path else f"the model ({type(module).__name__})"
    return ConfigError(KEY, f"{where} {reason}", f"take a model without it, or {ONE_BY_ONE}")
