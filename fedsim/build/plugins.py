"""Which plugins the results of a configuration depend on, and whether all ranks have the same ones."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from fedsim.build.registries import REGISTRIES
from fedsim.comm import Communicator
from fedsim.errors import ConfigError
from fedsim.registry import Component
from fedsim.run_directory.plugin_source import PluginSource, digest_of


def plugins_that_count(plugins: Sequence[PluginSource], components: Iterable[Component]) -> list[PluginSource]:
    """Those that some of the components come from, and those that register nothing, whatever they do.

    So a run of built-in methods stays the same run when a plugin of another method is edited.
    """
    components = list(components)
    used = _files_of(type(component) for component in components)
    used |= {file.resolve() for component in components for file in component.further_files}
    registered = _files_of(kind for registry in REGISTRIES.values() for kind in registry.classes())
    return [plugin for plugin in plugins if plugin.paths & used or not plugin.paths & registered]


def _files_of(classes: Iterable[type[Component]]) -> set[Path]:
    """Where these classes and those that they derive from are written."""
    modules = {parent.__module__ for kind in set(classes) for parent in kind.__mro__}
    files = (getattr(sys.modules.get(module), "__file__", None) for module in modules)
    return {Path(file).resolve() for file in files if file is not None}


def require_same_plugins(comm: Communicator, plugins: Sequence[PluginSource]) -> None:
    """ConfigError if a rank has loaded a plugin with other contents than rank 0."""
    digest = digest_of(plugins) or "0" * 32
    digests = comm.all_gather(torch.tensor(list(digest.encode())))
    others = (digests != digests[0]).any(1).nonzero().flatten().tolist()
    if others:
        who = ", ".join(str(comm.monitor.status(rank)) for rank in others)
        files = ", ".join(plugin.path.name for plugin in plugins) or "a file"
        problem = f"{who} loaded {files} with other contents than rank 0"
        raise ConfigError("--plugin", problem, "use the same files on all hosts, and do not change them meanwhile")
