"""The parts of one rank, made from checked components: model, clients, server, evaluation, records."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedsim.build.components import Components
from fedsim.build.data import RunData
from fedsim.build.kernels import column_maps
from fedsim.build.model import build_module, memory_errors_named
from fedsim.build.pinned_rows import pin_rows
from fedsim.build.resume import Start
from fedsim.comm import Communicator
from fedsim.comm.devices import in_words
from fedsim.data.split_file import samples_by_class
from fedsim.errors import keys_under
from fedsim.files import printable
from fedsim.participation.groups import ClientGroups
from fedsim.participation.participants import Participation
from fedsim.participation.placement import place_clients
from fedsim.records.console import progress
from fedsim.records.evaluation_notice import EvaluationNotice
from fedsim.records.hparams import hparams_of
from fedsim.records.logger_writer import logger_writers
from fedsim.records.phases import Phases
from fedsim.records.pictures import partition_picture, save_picture
from fedsim.records.summary import SummaryFile, results_in
from fedsim.records.tensor_board import TensorBoard, TensorBoardSettings
from fedsim.records.writers import JsonLines, NoOpWriter, RecordWriter, WriterGroup
from fedsim.run_directory.directory import CONFIG, METRICS, TASK, environment, write_json, write_yaml
from fedsim.run_directory.launch_facts import ENVIRONMENT
from fedsim.run_directory.plugin_source import facts_of, keep_copies
from fedsim.run_directory.provenance import Provenance
from fedsim.server.adversary import Adversary
from fedsim.server.client_momentum import ClientMomentum
from fedsim.server.diagnosis import Diagnosis
from fedsim.server.round import NoOpRound, ServerRound, WorkingRound
from fedsim.server.server import Server
from fedsim.simulation import LocalClients, RunSchedule
from fedsim.stop_request import StopRequest
from fedsim.training.client import ClientData, LocalWork, Trainer, compiled_sizes, count_batches
from fedsim.training.local_steps import StepRules
from fedsim.training.poisoned_labels import PoisonedLabels
from fedsim.training.vectorized import VectorizedTrainer
from fedsim.training.vectorized_checks import require_vectorizable
from fedsim.updates.global_model import GlobalModel
from fedsim.updates.layout import RowLayout
from fedsim.updates.model_rows import ModelRows
from fedsim.updates.row_columns import RowColumns
from fedsim.yaml_text import yaml_text

log = logging.getLogger(__name__)

NOTHING_COMPILED = "runtime.compile has no effect: only whole batches are compiled, and no client has one"


def build_model(components: Components, comm: Communicator, data: RunData) -> GlobalModel:
    """The global model as the run starts with it: weights are read on rank 0 only, and sent to the others."""
    config, builder = components.config, components.model
    reads = builder.has_weights and comm.rank == 0
    with keys_under("model"), memory_errors_named():
        module = build_module(components, data.task, with_weights=reads)
        module = place_module(module, components, comm.device)
    if config.clients_at_once > 1:
        require_vectorizable(module, data.input_shape, token_ids=data.task.vocabulary is not None)
    if builder.has_weights:
        for tensor in (*module.parameters(), *module.buffers()):
            comm.broadcast(tensor.data)
    return GlobalModel(ModelRows(module))


def place_module(module: nn.Module, components: Components, device: torch.device) -> nn.Module:
    """The module where its rank computes, in the memory layout of the run."""
    if components.config.runtime.channels_last:
        module = module.to(memory_format=torch.channels_last)
    return module.to(device)


def build_schedule(components: Components) -> RunSchedule:
    """How long the run is and how often it does what."""
    config = components.config
    return RunSchedule(
        rounds=config.rounds,
        evaluate_every=config.evaluation.every,
        checkpoint_every=config.checkpoint.every,
        check_every=config.runtime.check_every,
        stops_on_divergence=config.runtime.on_divergence == "stop",
    )


def build_participation(components: Components, data: RunData, ranks: int) -> Participation:
    """Who does what in each round, and on which of the ranks."""
    config, plan = components.config, components.attack_plan
    local = local_work(components)
    steps = [count_batches(samples, local) for samples in data.sample_counts]
    work = [0 if client in plan.always_idle else count for client, count in enumerate(steps)]
    at_once = config.clients_at_once
    return Participation(
        seed=config.seed,
        num_clients=config.clients.count,
        per_round=config.participants_per_round,
        attack_plan=plan,
        placement=place_clients(work, ranks),
        groups=None if at_once == 1 else ClientGroups(size=at_once, steps=steps, ranks=ranks),
    )


def build_local_clients(
    components: Components,
    comm: Communicator,
    data: RunData,
    model: GlobalModel,
    columns: RowColumns,
    stop: StopRequest,
) -> LocalClients:
    """The local work of any client on this rank's model, and the way of its row to where the server works."""
    config = components.config
    labels_of = PoisonedLabels(
        components.attack_plan,
        components.attacks,
        data.splits.train.labels,
        data.client_indices,
        data.num_classes,
        config.seed,
    )
    client_data = ClientData(data.train_inputs(comm.device), data.client_indices, labels_of, data.num_classes)
    kind: type[Trainer] | type[VectorizedTrainer] = Trainer
    if config.clients_at_once > 1:
        kind = VectorizedTrainer
    work = local_work(components)
    if comm.rank == 0 and work.compiled is not None and max(data.sample_counts) < min(compiled_sizes(work)):
        log.warning("warning: %s", NOTHING_COMPILED)
    trainer = kind(model.rows, client_data, work, config.seed, stop)
    ranges = None if columns.seen is None else columns.ranges
    transport = comm.open_rows(config.participants_per_round, len(model.state), ranges)
    pin_rows(transport, comm.device)
    return LocalClients(trainer, transport)


def local_work(components: Components) -> LocalWork:
    """What every client does in a round."""
    clients, runtime = components.config.clients, components.config.runtime
    return LocalWork(
        epochs=clients.local_epochs,
        steps=clients.local_steps,
        batch_size=clients.batch_size,
        send=clients.send,
        make_optimizer=components.client_optimizer,
        schedule=components.client_schedule,
        rules=step_rules(components),
        wire_dtype=getattr(torch, runtime.wire_dtype),
        compiled=runtime.compile_mode if runtime.compile else None,
        matmul=runtime.matmul,
    )


def step_rules(components: Components) -> StepRules:
    """How clients turn a batch into a step."""
    clients, runtime = components.config.clients, components.config.runtime
    return StepRules(
        loss=components.loss,
        proximal=clients.proximal,
        clip_norm=clients.clip_norm,
        micro_batches=clients.micro_batches,
        amp=None if runtime.amp == "none" else getattr(torch, runtime.amp),
        channels_last=runtime.channels_last,
    )


def build_server_round(
    components: Components,
    comm: Communicator,
    data: RunData,
    model: GlobalModel,
    columns: RowColumns,
    phases: Phases,
) -> ServerRound:
    """Attack and aggregation where there are columns to work on: on rank 0, or on every rank."""
    if comm.rank != 0 and columns.seen is None:
        return NoOpRound(columns)
    config, layout = components.config, model.rows.layout
    server = Server(
        components.defence,
        components.buffer_aggregator,
        components.server_optimizer,
        config.runtime.nonfinite,
        layout.size,
        _variances(model.rows.buffer_layout).to(comm.device),
        components.server_schedule,
        columns,
    )
    wire_dtype = getattr(torch, config.runtime.wire_dtype)
    adversary = Adversary(components.attack_plan, components.attacks, seed=config.seed, wire_dtype=wire_dtype)
    momentum = ClientMomentum(config.clients.momentum, wire_dtype)
    diagnosis = Diagnosis(
        components.attack_plan,
        layout.size,
        every=config.tracking.diagnose_every,
        rounds=config.rounds,
        metrics=components.metrics,
    )
    return WorkingRound(
        adversary,
        server,
        layout,
        config.seed,
        phases,
        data.sample_counts,
        momentum,
        diagnosis,
        column_maps(components),
    )


def _variances(layout: RowLayout) -> torch.Tensor:
    """Which of the buffers' values [D_b] are variances."""
    views = layout.views(torch.empty(layout.size))
    masks = [torch.full((view.numel(),), name.endswith("running_var")) for name, view in views.items()]
    return torch.cat(masks or [torch.empty(0, dtype=torch.bool)])


def task_facts(data: RunData) -> dict[str, Any]:
    """What the model is built for and shown, as JSON values: by this it can be built again without the data."""
    normalization = data.view.normalization
    return {
        **asdict(data.task),
        "class_names": data.splits.class_names,
        "normalization": normalization and dict(zip(("mean", "std"), map(list, normalization), strict=True)),
    }


def build_writer(
    components: Components, comm: Communicator, directory: Path, data: RunData, start: Start, provenance: Provenance
) -> RecordWriter:
    """The writers of rank 0, which begin with what is known before the first round; none elsewhere."""
    if comm.rank != 0:
        return NoOpWriter()
    config, resolved, class_names = components.config, components.resolved(), data.splits.class_names
    samples = samples_by_class(data.splits.train.labels, data.client_indices, data.num_classes)
    byzantine = components.attack_plan.ever
    what = "positions" if data.task.per_token else "samples"
    partition = partition_picture(samples, class_names, byzantine, what)
    save_picture(directory / "partition.png", partition)
    ranks = environment(comm.description, comm.size, in_words(comm.devices))
    keep_copies(components.plugins, directory)
    host = {"run": start.run, **ranks, **provenance.to_dict(), **facts_of(components.plugins)}
    write_json(directory / TASK, task_facts(data))
    write_json(directory / ENVIRONMENT, host)
    write_yaml(directory / CONFIG, resolved)  # last: who finds it may resume the run
    metrics, done = directory / METRICS, start.done
    lines = JsonLines(metrics, done, start.run, start.records.get("digest"))
    results = start.results or results_in(metrics)
    notice = EvaluationNotice(config.rounds, config.evaluation.every)
    writers = [
        lines,
        progress(config.rounds, done),
        SummaryFile(directory, done, results, rounds=config.rounds),
        notice,
    ]
    if config.tracking.tensorboard and printable(str(directory)) != str(directory):
        log.warning("tracking.tensorboard: nothing is written, TensorBoard takes only names in UTF-8: %s", directory)
    elif config.tracking.tensorboard:
        settings = TensorBoardSettings(
            byzantine=byzantine,
            num_clients=config.clients.count,
            partition=partition,
            class_names=class_names,
            curves=config.tracking.clients,
            classes=config.tracking.classes,
            images_every=config.tracking.images_every,
            rounds=config.rounds,
            metrics=components.metrics.labels,
            texts={"config": yaml_text(resolved), "environment": yaml_text(host)},
            hparams=hparams_of(resolved),
        )
        writers.append(TensorBoard(directory, metrics, done, settings, results))
    writers += logger_writers(components.loggers, directory, resolved, done, results)
    return WriterGroup(writers)
