"""Where a run is recorded, and whether it continues an earlier one."""

import hashlib
import json
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from fedsim.build.components import Components
from fedsim.build.data import RunData
from fedsim.build.given_settings import decisive_settings, given_settings
from fedsim.comm import Communicator
from fedsim.config.source import differing_keys, read_yaml
from fedsim.errors import ConfigError, counted
from fedsim.files import file_name
from fedsim.records.summary import ResultsSoFar, read_summary
from fedsim.results_version import RESULTS_VERSION
from fedsim.run_directory.checkpoint import on_device, pack, unpack
from fedsim.run_directory.damage import read_json
from fedsim.run_directory.directory import (
    CONFIG,
    has_checkpoints,
    new_run_directory,
    newest_round,
    results_version,
    run_directories,
)
from fedsim.run_directory.launch_facts import ENVIRONMENT, is_relaunch
from fedsim.run_directory.plugin_source import COPIES, PLUGINS, PluginSource, what_differs
from fedsim.server.round import ServerRound
from fedsim.updates.global_model import GlobalModel

NAMED = 6
"""Keys that a message names; the rest are counted."""

MAY_CHANGE = (
    "rounds",
    "output_dir",
    "run_name",
    "evaluation",
    "stopping",
    "checkpoint",
    "tracking",
    "data.placement",
    "server.sharded",
    "runtime.compile_kernels",
    "runtime.timeout",
    "runtime.check_every",
    "runtime.on_divergence",
)
"""Keys that may have other values when a run is resumed: they decide how long it is, what it records, and where it
computes."""


def choose_run_directory(components: Components, *, resume: bool | Path) -> tuple[Path, bool]:
    """Where the run is recorded, and whether it is resumed.

    As asked for, the newest directory of this name that holds the same configuration is, and before it that of this
    launch; without being asked, that of this launch if it starts again.

    Args:
        resume: whether it is asked for, or the directory that is.

    Raises:
        ConfigError: all hold other configurations, the run cannot go on, or no directory can be made.
    """
    output_dir, name, rounds = components.output_dir, file_name(components.run_name()), components.config.rounds
    known = [resume] if isinstance(resume, Path) else run_directories(output_dir, name)
    of_launch = [path for path in known if is_relaunch(path)]
    wanted = [*of_launch, *(path for path in known if resume and path not in of_launch)]
    problems = []
    for directory in wanted:
        _require_config(directory)
        problem = _why_not(directory, components)
        if problem is None:
            _require_no_more(directory, rounds)
            _require_checkpoints(directory, rounds)
            return directory, True
        problems.append(problem)
    if problems and resume:
        others = f", and {len(problems) - 1} more of this name do not fit either" if problems[1:] else ""
        raise ConfigError("--resume", f"{problems[0].problem}{others}", problems[0].remedy)
    return new_run_directory(output_dir, name), bool(resume)


def _require_config(directory: Path) -> None:
    if not (directory / CONFIG).exists():
        problem = f"{directory} holds a run, but its {CONFIG} is missing, so it is not known what was run there"
        raise ConfigError("--resume", problem, "bring it back, or start a run under another run_name")


def _why_not(directory: Path, components: Components) -> ConfigError | None:
    """Why the run in a directory is not this one; None if it is.

    Keys that its version of fedsim did not know count as their defaults.
    """
    version = results_version(directory)
    if version is None:
        missing = f"{directory / ENVIRONMENT} is missing or damaged"
        return _no_run_of_this(f"{missing}, so it is not known what made the run")
    if version != RESULTS_VERSION:
        return _no_run_of_this(
            f"{directory} has results of version {version}, and this fedsim gives version {RESULTS_VERSION} "
            "(what has changed on purpose stands under Bits in CHANGELOG.md)"
        )
    try:
        stored = given_settings(read_yaml(directory / CONFIG))
    except ConfigError as error:
        return _no_run_of_this(error.problem)
    changed = [
        key
        for key in differing_keys(stored, given_settings(components.resolved()))
        if not any(key == free or key.startswith(f"{free}.") for free in MAY_CHANGE)
    ]
    if changed:
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        problem = f"{directory} was run with other values of {', '.join(changed[:NAMED])}{more}"
        remedy = f"start a new run, or leave them out: --resume {directory} goes on with its own"
        return ConfigError("--resume", problem, remedy)
    edited = what_differs(components.plugins, read_json(directory / ENVIRONMENT))
    if edited:
        return _no_run_of_this(f"{directory} was run with another version of {edited} (kept in {COPIES}/ there)")
    return None


def _no_run_of_this(problem: str) -> ConfigError:
    return ConfigError("--resume", problem, "start a new run instead")


def finished_rounds(directory: Path) -> int:
    """How many rounds a run has that was completed and has no checkpoints any more; 0 if it is none such."""
    summary = {} if has_checkpoints(directory) else read_summary(directory)
    return int(summary.get("rounds") or 0) if summary.get("status") == "completed" else 0


def _require_no_more(directory: Path, rounds: int) -> None:
    """ConfigError if a run has more rounds behind it than it is to have: its records would say so of fewer."""
    before = read_yaml(directory / CONFIG).get("rounds", rounds)
    done = finished_rounds(directory) or newest_round(directory)
    if isinstance(before, int) and before > rounds and done > rounds:  # a damaged file may say anything
        problem = f"{directory} was started with rounds={before} and has {counted(done, 'round')} behind it"
        raise ConfigError("rounds", f"{rounds} is too few: {problem}", f"give as many, or --resume {directory}")


def _require_checkpoints(directory: Path, rounds: int) -> None:
    finished = finished_rounds(directory)
    if 0 < finished < rounds:
        raise ConfigError(
            "--resume",
            f"{directory} is finished after {counted(finished, 'round')} and its checkpoints were deleted, so it "
            "cannot go on; its records stay as they are",
            "start a new run, or remove this directory first",
        )


@dataclass(frozen=True)
class Start:
    """What a run starts with on rank 0.

    Attributes:
        run: its id.
        done: rounds that it has behind it.
        records: what the writers knew at the checkpoint; empty without one, or if it is older than that.
    """

    run: str
    done: int = 0
    records: Mapping[str, Any] = field(default_factory=dict)

    @property
    def results(self) -> ResultsSoFar | None:
        """What the rounds so far have found; None where the checkpoint does not say."""
        known = self.records.get("results")
        return ResultsSoFar(**known) if known else None


def results_digest(components: Components, data: RunData) -> str:
    """A digest of what the results of a run depend on: by this its checkpoints are recognised."""
    parts = [decisive_settings(components.resolved(), MAY_CHANGE), data.digest]
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16)
    for indices in data.client_indices:
        digest.update(f"{len(indices)} ".encode() + indices.numpy().tobytes())
    return digest.hexdigest()


def restore(
    comm: Communicator,
    model: GlobalModel,
    server: ServerRound,
    loaded: tuple[int, dict[str, Any]] | None,
    finished: int = 0,
) -> int:
    """Bring the checkpoint of rank 0 to all ranks; the number of rounds done: without a checkpoint ``finished``."""
    facts = torch.tensor([finished, False])
    if comm.rank == 0 and loaded is not None:
        facts = torch.tensor([loaded[0], True])
        _load(model, loaded[1])
    comm.broadcast(facts)
    done, there_is_a_checkpoint = facts.tolist()  # what only rank 0 knows
    comm.broadcast(model.state)
    state = None if loaded is None else loaded[1]["server"]
    if there_is_a_checkpoint and server.is_distributed:
        state = share_state(comm, state)
    if state is not None:
        server.load_state_dict(on_device(state, comm.device))
    return int(done)


def share_state(comm: Communicator, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """The state that rank 0 has, on every rank."""
    tree, tensors = pack(state)
    facts = {name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in tensors.items()}
    text = json.dumps([tree, facts]).encode() if comm.rank == 0 else b""
    size = torch.tensor([len(text)])
    comm.broadcast(size)
    letters = torch.tensor(list(text or bytes(int(size))), dtype=torch.uint8)
    comm.broadcast(letters)
    tree, facts = json.loads(bytes(letters.tolist()))
    shared = {}
    for name, (dtype, shape) in facts.items():
        shared[name] = tensors[name] if comm.rank == 0 else torch.empty(shape, dtype=getattr(torch, dtype))
        comm.broadcast(shared[name])
    unpacked: dict[str, Any] = unpack(tree, shared)
    return unpacked


def _load(model: GlobalModel, state: Mapping[str, Any]) -> None:
    """The global model of a checkpoint, in which it is named tensors, or one flat tensor (fedsim-3)."""
    if "model" not in state:
        model.state.copy_(state["state"])
        return
    for name, values in model.named().items():
        values.copy_(state["model"][name])


def require_plugins(directory: Path, plugins: Collection[PluginSource]) -> None:
    """Before a run is resumed by its directory: its plugins are named too, for no configuration runs code.

    Raises:
        ConfigError: it had some, and none is given.
    """
    recorded = (read_json(directory / ENVIRONMENT) or {}).get(PLUGINS)
    if isinstance(recorded, dict) and recorded and not plugins:
        options = " ".join(f"--plugin {shlex.quote(str(path))}" for path in recorded)
        raise ConfigError("--resume", f"{directory} was run with plugins", f"add {options}")


def require_run(output_dir: Path, name: str) -> None:
    """Before a run is resumed: there is one of this name, be it one that failed before its first record.

    Raises:
        ConfigError: there is none; the message says what was looked for, and which runs there are.
    """
    if run_directories(output_dir, name) or (output_dir / name).is_dir():
        return
    runs = sorted(path.parent.name for path in output_dir.glob("*/config.yaml"))
    near = get_close_matches(name, runs, n=3, cutoff=0.5)
    problem = f"there is no run {output_dir / name}, nor one with -2, -3, ... behind the name"
    others = f"; nearest: {', '.join(near)}" if near else f"; {output_dir} holds no run" if not runs else ""
    remedy = f"name its directory, as in --resume {output_dir / (near[0] if near else name)}, or leave --resume out"
    raise ConfigError("--resume", f"{problem}{others}", remedy)
