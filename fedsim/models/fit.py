"""Whether a model takes the inputs that it will be shown: many refuse them only when they are used."""

import torch
from torch import nn

from fedsim.errors import ConfigError


def require_images(input_shape: tuple[int, ...], library: str) -> None:
    """ConfigError if the inputs of a library's models are no images [C, H, W]."""
    if len(input_shape) != 3:
        problem = f"{library}'s models need images, not inputs of shape {list(input_shape)}"
        raise ConfigError("name", problem, "use mlp")


@torch.no_grad()
def require_fit(model: nn.Module, input_shape: tuple[int, ...], name: str) -> None:
    """ConfigError if the architecture ``name`` cannot take such images."""
    try:
        model.eval()(torch.zeros(1, *input_shape))
    except Exception as error:
        raise does_not_fit(input_shape, name, error) from None
    finally:
        model.train()


def does_not_fit(input_shape: tuple[int, ...], name: str, error: Exception) -> ConfigError:
    """What to say of an architecture that refuses images by an error of its own."""
    size = " x ".join(map(str, input_shape[1:]))
    problem = f"'{name}' cannot take images of {size}: {' '.join(str(error).split())[:200]}"
    return ConfigError("architecture", problem, "set data.resolution")
