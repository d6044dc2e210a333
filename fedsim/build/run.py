"""A run that is ready on this rank: transport and run directory opened, data loaded, model built, state restored."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedsim.build.components import Components
from fedsim.build.data import RunData, load_data
from fedsim.build.evaluation import build_evaluator, build_stopping, build_validator
from fedsim.build.fewer_ranks import fewer_ranks
from fedsim.build.kernels import resolve_kernels
from fedsim.build.parts import (
    build_local_clients,
    build_model,
    build_participation,
    build_schedule,
    build_server_round,
    build_writer,
)
from fedsim.build.plugins import require_same_plugins
from fedsim.build.resume import Start, choose_run_directory, finished_rounds, restore, results_digest
from fedsim.build.server_columns import server_columns
from fedsim.comm import Communicator, RankPlace, open_communicator
from fedsim.comm.devices import in_words
from fedsim.config.run import RuntimeSection
from fedsim.data.labels import count_classes
from fedsim.data.split_file import save_or_check_split
from fedsim.errors import ConfigError, counted
from fedsim.failures.handler import FailureHandler
from fedsim.machine import count_cores, has_signs_of_a_gpu
from fedsim.participation.participants import Participation
from fedsim.records.logs import log_on_terminal, start_logs
from fedsim.records.phases import Phases
from fedsim.records.summary import RunFacts
from fedsim.records.writers import JsonLines, NoOpWriter
from fedsim.run_directory.checkpoint import Checkpoints, NoCheckpoints, Origin
from fedsim.run_directory.directory import CHECKPOINTS, METRICS, run_id
from fedsim.run_directory.failure_note import clear_failure
from fedsim.run_directory.lock import RunLock, lock_run_directory
from fedsim.run_directory.provenance import Provenance
from fedsim.simulation import Recording, Simulation
from fedsim.stop_request import StopRequest
from fedsim.training.freezing import frozen_digest
from fedsim.updates.global_model import GlobalModel
from fedsim.updates.row_columns import RowColumns

log = logging.getLogger(__name__)


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


def open_run(
    components: Components,
    place: RankPlace,
    *,
    resume: bool | Path,
    stop: StopRequest | None = None,
    failures: FailureHandler | None = None,
    provenance: Provenance | None = None,
) -> Run:
    """Open the run directory and the transport, and build this rank's part.

    Args:
        resume: whether the newest run of this name goes on, or the directory of the one that does.
        stop: whether this rank has been asked to stop.
        failures: what is done if the run fails; it learns of the other ranks and of the run's directory.
        provenance: what was typed, for the records.

    Raises:
        ConfigError: what can be found out only now (the run directory, the data, the model).
    """
    comm = _connect(components.config.runtime, place, failures)  # first: else a failed start left a directory
    if failures is not None:
        failures.ranks_are_connected(comm.monitor)
    chosen, lock = None, None
    try:
        if place.rank == 0:
            with log_on_terminal():  # the run's own logs start in the directory that is chosen here
                chosen, resume = choose_run_directory(components, resume=resume)
                lock = lock_run_directory(chosen)
                clear_failure(chosen)
        directory = Path(comm.share_text(str(chosen or "")))
        start_logs(place.rank, directory)
        if place.rank == 0:
            log.info("run directory %s", directory)
            _say_if_fewer_ranks_are_faster(components, comm, place, provenance)
        if failures is not None:
            failures.directory_is_known(directory)
        run = _build_run(
            components, comm, directory, lock, stop or StopRequest(), provenance or Provenance(), resume=bool(resume)
        )
    except BaseException:
        if lock is not None:
            lock.release()
        if failures is None:  # else it is its work to leave the other ranks
            comm.close()
        raise
    if failures is not None:
        failures.records_are_open(run.close_records)
    return run


def _say_if_fewer_ranks_are_faster(
    components: Components, comm: Communicator, place: RankPlace, provenance: Provenance | None
) -> None:
    if comm.device.type == "cpu" and provenance is not None:
        notice = fewer_ranks(place, count_cores(), components.config.most_hosts, provenance.command)
        if notice is not None:
            log.info("%s", notice)


def _connect(runtime: RuntimeSection, place: RankPlace, failures: FailureHandler | None) -> Communicator:
    """The transport between the ranks, on the devices that the configuration wants.

    Raises:
        ConfigError: some ranks have a GPU and others have none, or none has one and a GPU is wanted.
    """
    comm = open_communicator(place, place.device(runtime.device), runtime.timeout, failures)
    if runtime.device == "cuda" and comm.device.type != "cuda":
        comm.close()
        problem = f"'cuda' is wanted but no GPU is visible ({comm.devices[0].why_no_gpu})"
        raise ConfigError("runtime.device", problem, "use auto or cpu")
    return comm


def _build_run(
    components: Components,
    comm: Communicator,
    directory: Path,
    lock: RunLock | None,
    stop: StopRequest,
    provenance: Provenance,
    *,
    resume: bool,
) -> Run:
    """Load the data, build the model, restore the state, make the simulation."""
    comm.monitor.report("phase 'connect'")
    _log_devices(components, comm)
    comm.broadcast(torch.zeros(1, device=comm.row_device))  # what NCCL lacks is known before anything is loaded
    require_same_plugins(comm, components.plugins)
    comm.monitor.report("phase 'load data'")
    data = load_data(components, comm)
    if comm.rank == 0:
        labels = data.splits.train.labels
        save_or_check_split(directory, data.client_indices, labels, data.digest, data.validation)
    comm.monitor.report("phase 'build'")
    phases = Phases(comm.monitor.report)
    model = build_model(components, comm, data)
    components = resolve_kernels(components, comm, model.num_parameters, directory if resume else None)
    columns = server_columns(components, comm, model.num_parameters, model.num_buffers)
    server = build_server_round(components, comm, data, model, columns, phases)
    run = run_id(directory) if comm.rank == 0 else ""
    checkpoints = _open_checkpoints(components, comm, directory, data, model, run)
    finished = finished_rounds(directory) if resume and comm.rank == 0 else 0
    loaded = _load_newest(checkpoints, comm, finished, resume=resume)
    done = restore(comm, model, server, loaded, finished)
    _log_start(components, comm, model, columns, done)
    start = Start(run, done, loaded[1]["records"] if loaded else {})
    if finished:
        JsonLines(directory / METRICS, finished, run).close("completed")  # restores lines that are damaged
    writer = NoOpWriter() if finished else build_writer(components, comm, directory, data, start, provenance)
    participation = build_participation(components, data, comm.size)
    simulation = Simulation(
        schedule=build_schedule(components),
        participation=participation,
        comm=comm,
        model=model,
        local=build_local_clients(components, comm, data, model, columns, stop),
        server=server,
        evaluator=build_evaluator(components, comm, data),
        validator=build_validator(components, comm, data),
        recording=Recording(writer, checkpoints, phases),
        stopping=build_stopping(components, loaded[1] if loaded else {}),
        stop=stop,
        done=done,
    )
    return Run(simulation, directory, _facts(components, data, participation), lock)


def _open_checkpoints(
    components: Components, comm: Communicator, directory: Path, data: RunData, model: GlobalModel, run: str
) -> Checkpoints | NoCheckpoints:
    if comm.rank != 0:
        return NoCheckpoints()
    origin = Origin(run, results_digest(components, data), frozen_digest(model.rows.model))
    return Checkpoints(directory / CHECKPOINTS, components.config.checkpoint.keep, origin)


def _load_newest(
    checkpoints: Checkpoints | NoCheckpoints, comm: Communicator, finished: int, *, resume: bool
) -> tuple[int, dict[str, Any]] | None:
    """The newest checkpoint of rank 0; None for a new run, and on other ranks.

    Args:
        finished: rounds of a finished run whose checkpoints are gone.
    """
    loaded = checkpoints.load_newest() if resume and not finished else None
    if finished:
        log.warning("the checkpoints of this finished run were deleted: its records stay as they are")
    elif resume and loaded is None and comm.rank == 0:
        log.info("there is no checkpoint to resume from: starting with round 1")
    return loaded


def _facts(components: Components, data: RunData, participation: Participation) -> RunFacts:
    config, counts = components.config, count_classes(data.splits.test.labels, data.num_classes)
    num_byzantine = components.attack_plan.most[0]
    return RunFacts(
        data=config.data.name,
        attack=components.attack_names,
        aggregator=config.aggregator.name,
        num_byzantine=num_byzantine,
        num_clients=config.clients.count,
        attack_acts=participation.attackers_take_part(),
        largest_class=float(counts.max()) / int(counts.sum()),
    )


def _log_devices(components: Components, comm: Communicator) -> None:
    """What the ranks compute on, on the rank that speaks."""
    if comm.rank != 0:
        return
    log.info("device: %s", in_words(comm.devices))
    if components.config.runtime.device == "auto" and comm.device.type == "cpu" and has_signs_of_a_gpu():
        log.warning("runtime.device: auto means the CPU here, for torch sees no GPU: %s", comm.devices[0].why_no_gpu)


def _log_start(
    components: Components, comm: Communicator, model: GlobalModel, columns: RowColumns, done: int
) -> None:
    """What the run is, on the rank that speaks."""
    if comm.rank != 0:
        return
    config = components.config
    log.info(
        "%d client%s (%d Byzantine) on %d rank%s; update vector of %s parameters and %s buffer values; transport: %s",
        config.clients.count,
        "s" * (config.clients.count > 1),
        components.attack_plan.most[0],
        comm.size,
        "s" * (comm.size > 1),
        *(f"{count:,}".replace(",", " ") for count in (model.num_parameters, model.num_buffers)),
        comm.description,
    )
    if columns.seen is not None:
        log.info("every rank runs attack and aggregator on its share of the columns, %s of them here", columns.here)
    for name, f in components.tolerated:
        log.info("%s defends against up to %d Byzantine client%s", name, f, "s" * (f != 1))
    if comm.size > config.most_hosts:
        spare = comm.size - config.most_hosts
        log.info("%d spare rank%s evaluate%s and wait%s", spare, *(["s", "", ""] if spare > 1 else ["", "s", "s"]))
    if done >= config.rounds:
        log.info("the run is finished: %s done", counted(done, "round"))
    elif done:
        log.info("resumed after round %d", done)
