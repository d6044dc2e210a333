"""The composition root, last part: transport, run directory and data are opened, and a simulation stands ready."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedsim.build.components import Components
from fedsim.build.parts import build_head, build_model, build_trainer, build_writer
from fedsim.comm import Communicator, RankPlace, open_communicator
from fedsim.config.source import differing_keys, read_yaml
from fedsim.data.fingerprint import fingerprint
from fedsim.data.inputs import Inputs
from fedsim.data.split_file import keep_split
from fedsim.errors import ConfigError, keys_under
from fedsim.evaluation.evaluator import Evaluator
from fedsim.failures.reporter import LastWords
from fedsim.participation.placement import homes
from fedsim.records.logs import start_logs
from fedsim.records.phases import Phases
from fedsim.records.summary import RunFacts
from fedsim.run_directory.checkpoint import Checkpoints, NoCheckpoints
from fedsim.run_directory.checkpoint import on_device as state_on_device
from fedsim.run_directory.directory import new_run_directory, run_directories
from fedsim.run_directory.failure_note import forget_failure
from fedsim.run_directory.launch_facts import is_started_again
from fedsim.run_directory.lock import RunLock, lock_run_directory
from fedsim.seeds import derive_generator
from fedsim.server.round import Head
from fedsim.simulation import Schedule, Simulation
from fedsim.stop_request import StopRequest
from fedsim.training.freezing import mark_of_frozen
from fedsim.training.losses import ClassCounts
from fedsim.updates.heap import keep_freed_memory
from fedsim.updates.model_rows import ModelRows

log = logging.getLogger(__name__)

MAY_CHANGE = (
    "rounds",
    "output_dir",
    "run_name",
    "evaluation",
    "checkpoint",
    "tracking",
    "runtime.timeout",
    "runtime.check_every",
    "runtime.on_divergence",
)
"""Keys that a resumed run may set anew: they decide how long and what is recorded, not what comes out."""


@dataclass(frozen=True)
class Run:
    """A run that is ready on this rank."""

    simulation: Simulation
    directory: Path
    facts: RunFacts
    lock: RunLock | None

    def close_records(self, status: str) -> None:
        """Close the records, and let others have the directory."""
        try:
            self.simulation.close_records(status)
        finally:
            if self.lock is not None:
                self.lock.release()

    def close(self, status: str) -> None:
        """Close the records and the transport."""
        self.close_records(status)
        self.simulation.comm.close()


def prepare_process(components: Components) -> None:
    """What must hold in every rank before its first tensor: threads and determinism, never inherited."""
    runtime = components.config.runtime
    keep_freed_memory()
    torch.set_num_threads(runtime.threads)
    if runtime.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        # Every buffer here is written before it is read, so filling it first would only cost time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False


def open_run(
    components: Components,
    place: RankPlace,
    *,
    resume: bool,
    stop: StopRequest | None = None,
    words: LastWords | None = None,
) -> Run:
    """Open the transport, the run directory and the data, and build this rank's part.

    Args:
        stop: whether this rank has been asked to stop.
        words: what is said if the run fails; it is told of the other ranks and of the run's directory.

    Raises:
        ConfigError: what can be found out only now (the run directory, the data, the model).
    """
    config = components.config
    device = place.device(config.runtime.device)
    directory = None
    if place.rank == 0:
        directory, resume = _run_directory(components, resume)
    lock = None if directory is None else lock_run_directory(directory)
    if directory is not None:
        forget_failure(directory)
    comm = open_communicator(place, device, config.runtime.timeout, words)
    try:
        directory = Path(comm.share_text(str(directory or "")))
        start_logs(place.rank, directory)
        if place.rank == 0:
            log.info("run directory %s", directory)
        if words is not None:
            words.ranks_have_met(comm.watch, directory)
        run = _build(components, comm, directory, lock, stop or StopRequest(), resume=resume)
    except BaseException:
        if lock is not None:
            lock.release()
        if words is None:  # else it is they who part from the other ranks
            comm.close()
        raise
    if words is not None:
        words.close_records = run.close_records
    return run


def _build(
    components: Components,
    comm: Communicator,
    directory: Path,
    lock: RunLock | None,
    stop: StopRequest,
    *,
    resume: bool,
) -> Run:
    config = components.config
    comm.watch.tell("phase 'load data'")
    with comm.first_on_each_host("load data"), keys_under("data"):
        splits = components.source.load(components.data_root)
    mark = fingerprint(splits)
    _require_same_data(comm, mark)
    with keys_under("clients.loss"):
        components.loss.class_weights(ClassCounts(*[torch.ones(splits.num_classes)] * 2))
    view = components.view(splits.input_shape[0])
    with keys_under("data"):
        input_shape = view.shape(splits)
    shares = components.partitioner.partition(
        splits.train.labels, config.clients.count, derive_generator(config.seed, "partition"), splits.train.columns
    )
    if comm.rank == 0:
        keep_split(directory, shares, splits.train.labels, mark)
    comm.watch.tell("phase 'build'")
    rows = ModelRows(build_model(components, comm, input_shape, splits.num_classes))
    state = torch.cat(rows.read())
    phases = Phases(comm.watch.tell)
    head = build_head(components, comm, rows, phases, [len(share) for share in shares])
    keeper = Checkpoints(directory / "checkpoints", config.checkpoint.keep, mark_of_frozen(rows.model))
    loaded = keeper.load_newest() if resume and comm.rank == 0 else None
    done = _restore(comm, state, head, loaded)
    if comm.rank == 0:
        _say_how_it_starts(components, comm, rows, done)
        if resume and loaded is None:
            log.info("there is no checkpoint to resume from: starting with round 1")
    plan = components.attack_plan
    facts = RunFacts(
        data=config.data.name,
        attack=components.attack_names,
        aggregator=config.aggregator.name,
        num_byzantine=plan.most[0],
        num_clients=config.clients.count,
        num_classes=splits.num_classes,
    )
    simulation = Simulation(
        schedule=Schedule(
            seed=config.seed,
            rounds=config.rounds,
            num_clients=config.clients.count,
            participants_per_round=config.participants_per_round,
            attack_plan=plan,
            homes=homes(config.clients.count, plan.always_idle, comm.size),
            evaluate_every=config.evaluation.every,
            checkpoint_every=config.checkpoint.every,
            check_every=config.runtime.check_every,
            stops_on_divergence=config.runtime.on_divergence == "stop",
        ),
        comm=comm,
        rows=rows,
        state=state,
        trainer=build_trainer(components, comm, rows, splits, shares, Inputs(splits.train, view, comm.device), stop),
        transport=comm.open_rows(config.participants_per_round, len(state)),
        head=head,
        evaluator=Evaluator(
            Inputs(splits.test, view, comm.device),
            splits.num_classes,
            config.evaluation.batch_size,
            comm,
            components.partitioner.owners_of_tests(splits.train.columns, splits.test.columns),
        ),
        writer=build_writer(components, comm, directory, splits, shares, done),
        checkpoints=keeper if comm.rank == 0 else NoCheckpoints(),
        phases=phases,
        stop=stop,
        done=done,
    )
    return Run(simulation, directory, facts, lock)


def _require_same_data(comm: Communicator, mark: str) -> None:
    """ConfigError if a rank has loaded other data than rank 0."""
    marks = comm.all_gather(torch.tensor(list(mark.encode())))
    others = (marks != marks[0]).any(1).nonzero().flatten().tolist()
    if others:
        who = ", ".join(str(comm.watch.standing(rank)) for rank in others)
        problem = f"{who} loaded other data than rank 0"
        raise ConfigError("data", problem, "use the same files on all hosts, and do not change them meanwhile")


def _run_directory(components: Components, resume: bool) -> tuple[Path, bool]:
    """Where the run is recorded, and whether it is resumed.

    As asked for, the newest directory of this name is; without being asked, that of this launch if it starts again.
    It must hold the same configuration.
    """
    output_dir, name = Path(components.config.output_dir), components.run_name()
    known = run_directories(output_dir, name)
    directory = next((path for path in known if resume or is_started_again(path)), None)
    if directory is None:
        return new_run_directory(output_dir, name), resume
    stored = read_yaml(directory / "config.yaml")
    changed = [
        key
        for key in differing_keys(stored, components.resolved())
        if not any(key == free or key.startswith(f"{free}.") for free in MAY_CHANGE)
    ]
    if changed and resume:
        raise ConfigError(
            "--resume", f"{directory} was run with other values of {', '.join(changed)}", "start a new run instead"
        )
    return (new_run_directory(output_dir, name), False) if changed else (directory, True)


def _restore(comm: Communicator, state: Tensor, head: Head, loaded: tuple[int, dict[str, Any]] | None) -> int:
    """Bring the checkpoint of rank 0 to all ranks; the number of rounds done."""
    done = torch.zeros(1, dtype=torch.int64)
    if comm.rank == 0 and loaded is not None:
        done[0] = loaded[0]
        state.copy_(loaded[1]["state"])
        head.load_state_dict(state_on_device(loaded[1]["head"], comm.device))
    comm.broadcast(done)
    comm.broadcast(state)
    return int(done)


def _say_how_it_starts(components: Components, comm: Communicator, rows: ModelRows, done: int) -> None:
    config = components.config
    log.info(
        "%d clients (%d Byzantine) on %d rank%s, rows of %d parameters and %d buffer values, %s",
        config.clients.count,
        components.attack_plan.most[0],
        comm.size,
        "s" * (comm.size > 1),
        rows.layout.size,
        rows.buffer_layout.size,
        comm.description,
    )
    if comm.size > config.clients.count:
        log.info("%d spare ranks evaluate and wait", comm.size - config.clients.count)
    if done >= config.rounds:
        log.info("the run is finished: %d rounds are done", done)
    elif done:
        log.info("resumed after round %d", done)
