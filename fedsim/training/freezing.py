"""Training only part of a model: what is frozen is neither trained nor sent."""

import hashlib
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedsim.errors import ConfigError, did_you_mean


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters whose name matches one of the patterns (``*`` for any text, ``[0-5]`` for one of these).

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train; key ``freeze``.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> freeze(model, ["0.*"])
    >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    ['1.weight', '1.bias']
    """
    parameters = dict(model.named_parameters())
    for position, pattern in enumerate(patterns):
        matching = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matching:
            parts = dict.fromkeys(name.split(".")[0] + ".*" if "." in name else name for name in parameters)
            raise ConfigError(f"freeze.{position}", f"no parameter matches '{pattern}'", did_you_mean(pattern, parts))
        for name in matching:
            parameters[name].requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError("freeze", "nothing is left to train", "leave out a pattern")


def frozen_digest(model: nn.Module) -> str:
    """A digest by which other frozen parameters are recognised; "" if nothing is frozen.

    >>> frozen_digest(nn.Linear(2, 2))
    ''
    """
    frozen = [(name, value) for name, value in model.named_parameters() if not value.requires_grad]
    digest = hashlib.blake2b(digest_size=8)
    for name, parameter in frozen:
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest() if frozen else ""


def set_training(model: nn.Module) -> None:
    """Training mode, but a batch normalisation whose parameters are frozen keeps to its statistics."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, _BatchNorm) and own and not any(parameter.requires_grad for parameter in own):
            module.eval()
