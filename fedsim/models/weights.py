"""Reading weights from a file without executing anything, whatever the program that saved them put around them."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fedsim.errors import ConfigError
from fedsim.files import open_file, readable_path
from fedsim.models.head import Head, fits_head

log = logging.getLogger(__name__)

WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict")
"""Keys under which training programs put a model's parameters into their checkpoints."""

AVERAGES = ("state_dict_ema", "model_ema")
"""Keys of parameters averaged over training, which are taken where there are no others."""

PREFIXES = ("_orig_mod.", "module.", "model.", "net.", "backbone.")
"""What programs put in front of every name: torch.compile, DistributedDataParallel, Lightning modules, ..."""

METADATA = (
    "argparse.Namespace",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
)
"""What stands beside the parameters in many checkpoints, and is skipped."""

FEW = 3
"""Names that a message gives; the others are counted."""


class _Skipped:
    """Stands for metadata: takes what it is made of, and does nothing with it."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def require_weights(path: Path) -> None:
    """ConfigError if there is no such file, or none that can be read."""
    try:
        open_file(path).close()
    except FileNotFoundError:
        raise ConfigError("weights", f"there is no file {path}", "name another file") from None
    except OSError as error:
        raise ConfigError("weights", f"cannot read {path}: {error.strerror}", "name another file") from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors file, or of a torch checkpoint of plain tensors.

    Raises:
        ConfigError: the file is missing, damaged, or holds more than tensors and so would need to run code.
    """
    try:
        if path.suffix == ".safetensors":
            with open_file(path), readable_path(path) as readable:
                return dict(load_file(readable))
        with open_file(path) as file, torch.serialization.safe_globals([(_Skipped, name) for name in METADATA]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError("weights", f"cannot read {path}: {error.strerror or error}", "name another file") from None
    except SafetensorError as error:
        raise ConfigError("weights", f"{path} is damaged: {error}", "fetch it again") from None
    except Exception as error:  # a damaged or hostile pickle raises nearly everything
        remedy = "save plain tensors, best with safetensors.torch.save_file"
        raise ConfigError("weights", f"{path} {_why_not(error)}", remedy) from None
    state = _unwrapped(content, path)
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(tensor, Tensor) for tensor in state.values())
    ):
        raise ConfigError("weights", f"{path} does not hold named tensors", "save model.state_dict()")
    return {str(name): tensor for name, tensor in state.items()}


def _why_not(error: Exception) -> str:
    """Why torch's reader, which runs no code, has refused a file."""
    reason = " ".join(str(error).split()) or type(error).__name__
    wanted = re.search(r"GLOBAL (\S+)", reason)
    if wanted:
        return f"cannot be read without running code: it wants {wanted[1]}"
    return f"cannot be read without running code: {reason[:200]}"


def _unwrapped(content: Any, path: Path) -> Any:
    """The mapping of parameters inside what a training program has saved."""
    while isinstance(content, Mapping):
        inner = next((key for key in (*WRAPPERS, *AVERAGES) if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        if inner in AVERAGES:
            log.info("%s: taking the averaged parameters, '%s': there are no others", path, inner)
        content = content[inner]
    return content


def load_weights(
    model: nn.Module, state: Mapping[str, Tensor], name: str, source: str, find_head: Callable[[], Head]
) -> None:
    """Set a model's tensors to those of the same name; its head stays new where the file has other classes, or none.

    Args:
        state: named tensors from ``source``.
        name: of the model, for messages.
        find_head: says what the model's head is; called only where not everything fits.

    Raises:
        ConfigError: the tensors are not those of such a model; key ``weights``.
    """
    own = model.state_dict()
    state = with_names_of(own, state, source)
    if misfit(own, state):
        head = find_head()
        new = {name for name in head if name not in state or fits_head(tuple(state[name].shape), head[name])}
        body = {name: tensor for name, tensor in own.items() if name not in new}
        state = {name: tensor for name, tensor in state.items() if name not in new}
        difference = misfit(body, state) if body else misfit(own, state)
        if difference:
            raise misfit_error(source, name, difference)
        log.info("%s: the head (%s) is new: the file has none for so many classes", source, few(sorted(new)))
    own.update(state)  # and not the file's alone: what versions of their layers it has is the model's to say
    model.load_state_dict(own)


def misfit_error(source: str, model: str, difference: str) -> ConfigError:
    """What to say of weights that are not those of a model."""
    problem = f"{source} does not fit {model}: {difference}"
    return ConfigError("weights", problem, "name the weights of this architecture")


def bare_names(name: str) -> Iterator[str]:
    """A parameter's name, then without one prefix after another.

    >>> list(bare_names("module._orig_mod.fc.weight"))
    ['module._orig_mod.fc.weight', '_orig_mod.fc.weight', 'fc.weight']
    """
    yield name
    for prefix in PREFIXES:
        if name.startswith(prefix):
            yield from bare_names(name.removeprefix(prefix))


def with_names_of(model: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors under the names that the model gives them, without the prefix under which most of them fit.

    What stands outside that prefix and does not fit the model belongs to something else (a loss, a projection head):
    it is left out, and a line says so. Batch normalisation's counters of batches may be missing, as in a checkpoint
    of a run, where they do not travel: they stay the model's own.

    Args:
        model: the model's own ``state_dict()``.
        state: named tensors from ``source``.

    >>> one = torch.ones(1)
    >>> list(with_names_of({"fc.weight": one}, {"net.fc.weight": one, "loss.weight": one}, "weights.pth"))
    ['fc.weight']
    """
    fits = Counter(
        name.removesuffix(bare) for name in state for bare in dict.fromkeys(bare_names(name)) if bare in model
    )
    prefix = max(fits, key=lambda prefix: (fits[prefix], -len(prefix))) if fits else _common_prefix(state)
    if not prefix:
        return _with_counters(model, state)
    named = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    named |= {name: tensor for name, tensor in state.items() if name in model and name not in named}
    left_out = [name for name in state if not name.startswith(prefix) and name not in named]
    if left_out:
        log.warning("%s: %s left out: not under '%s'", source, few(left_out), prefix)
    return _with_counters(model, named)


def _with_counters(model: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's own counter beside each running mean that comes without."""
    counters = {f"{name.removesuffix('running_mean')}num_batches_tracked" for name in state}
    return {**{name: tensor for name, tensor in model.items() if name in counters}, **state}


def _common_prefix(state: Mapping[str, Tensor]) -> str:
    """The longest chain of prefixes that every name begins with."""
    chains = [{name.removesuffix(bare) for bare in bare_names(name)} for name in state]
    return max(set.intersection(*chains), key=len)


def misfit(model: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """How named tensors differ from those that a model has; empty where they do not.

    >>> one, two = torch.ones(1), torch.ones(2)
    >>> misfit({"a": one, "b": one, "c": one}, {"b": two, "x": one})
    'it lacks a and c, has x too many, and b as [2] instead of [1]'
    """
    lacks = [name for name in model if name not in state]
    more = [name for name in state if name not in model]
    other = [name for name in model if name in state and model[name].shape != state[name].shape]
    parts = [f"lacks {few(lacks)}"] if lacks else []
    parts += [f"has {few(more)} too many"] if more else []
    shapes = [f"{name} as {list(state[name].shape)} instead of {list(model[name].shape)}" for name in other]
    parts += [f"{'' if more else 'has '}{few(shapes)}"] if shapes else []
    if not parts:
        return ""
    return "it " + (", ".join(parts[:-1]) + ", and " + parts[-1] if len(parts) > 2 else " and ".join(parts))


def few(names: list[str]) -> str:
    """The first names, the rest counted.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    if len(names) > FEW:
        return f"{', '.join(names[:FEW])} and {len(names) - FEW} more"
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])
