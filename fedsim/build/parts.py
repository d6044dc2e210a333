"""The parts of one rank, made from checked components: model, trainer, head, writers."""

from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from fedsim.aggregators.defence import Defence
from fedsim.build.components import Components
from fedsim.comm import Communicator
from fedsim.data import Splits
from fedsim.data.inputs import Inputs
from fedsim.data.split_file import samples_by_class
from fedsim.errors import keys_under
from fedsim.records.console import progress
from fedsim.records.phases import Phases
from fedsim.records.pictures import partition_picture, save_picture
from fedsim.records.summary import SummaryFile
from fedsim.records.tensor_board import Story, TensorBoard, hparams_of
from fedsim.records.writers import JsonLines, ManyWriters, RecordWriter, SilentWriter
from fedsim.run_directory.directory import environment, write_json, write_yaml
from fedsim.seeds import derive_seed, seeded
from fedsim.server.adversary import Adversary
from fedsim.server.client_momentum import ClientMomentum
from fedsim.server.round import EmptySeat, Head, ServerHead
from fedsim.server.server import Server
from fedsim.stop_request import StopRequest
from fedsim.training.client import LocalWork, Trainer
from fedsim.training.freezing import freeze
from fedsim.training.local_steps import StepRules
from fedsim.training.poisoned_labels import PoisonedLabels
from fedsim.updates.model_rows import ModelRows


def build_model(
    components: Components, comm: Communicator, input_shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    """The model as the run starts with it: weights are read on rank 0 only, and handed to the others."""
    config, builder = components.config, components.model
    with keys_under("model"), seeded(derive_seed(config.seed, "model")):
        reads = builder.has_weights and comm.rank == 0
        model = (builder.build_with_weights if reads else builder.build)(input_shape, num_classes)
        freeze(model, config.model.freeze)
    model = on_device(model, components, comm.device)
    if builder.has_weights:
        for tensor in (*model.parameters(), *model.buffers()):
            comm.broadcast(tensor.data)
    return model


def on_device(model: nn.Module, components: Components, device: torch.device) -> nn.Module:
    """The model where its rank computes, in the memory layout of the run."""
    if components.config.runtime.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model.to(device)


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


def build_trainer(
    components: Components,
    comm: Communicator,
    rows: ModelRows,
    splits: Splits,
    shares: Sequence[Tensor],
    inputs: Inputs,
    stop: StopRequest,
) -> Trainer:
    """The local work of any client, on this rank's model."""
    config, clients = components.config, components.config.clients
    labels_of = PoisonedLabels(
        components.attack_plan, components.attacks, splits.train.labels, shares, splits.num_classes, config.seed
    )
    work = LocalWork(
        epochs=clients.local_epochs,
        steps=clients.local_steps,
        batch_size=clients.batch_size,
        send=clients.send,
        make_optimizer=components.client_optimizer,
        schedule=components.client_schedule,
        rules=step_rules(components),
        wire_dtype=getattr(torch, config.runtime.wire_dtype),
    )
    return Trainer(
        rows,
        inputs,
        shares,
        work,
        config.seed,
        comm.device,
        labels_of,
        compiled=config.runtime.compile,
        num_classes=splits.num_classes,
        stop=stop,
    )


def build_head(
    components: Components, comm: Communicator, rows: ModelRows, phases: Phases, sample_counts: list[int]
) -> Head:
    """Attack and aggregation on rank 0, an empty seat elsewhere."""
    if comm.rank != 0:
        return EmptySeat()
    config = components.config
    variances = torch.cat(
        [
            torch.full((view.numel(),), name.endswith("running_var"))
            for name, view in rows.buffer_layout.views(torch.empty(rows.buffer_layout.size)).items()
        ]
        or [torch.empty(0, dtype=torch.bool)]
    )
    server = Server(
        Defence(components.aggregator, components.pre),
        components.buffer_aggregator,
        components.server_optimizer,
        config.runtime.nonfinite,
        rows.layout.size,
        variances.to(comm.device),
        components.server_schedule,
    )
    wire_dtype = getattr(torch, config.runtime.wire_dtype)
    adversary = Adversary(components.attack_plan, components.attacks, seed=config.seed, wire_dtype=wire_dtype)
    momentum = ClientMomentum(config.clients.momentum, wire_dtype)
    return ServerHead(adversary, server, rows.layout, config.seed, phases, sample_counts, momentum)


def build_writer(
    components: Components, comm: Communicator, directory: Path, splits: Splits, shares: Sequence[Tensor], done: int
) -> RecordWriter:
    """The writers of rank 0."""
    if comm.rank != 0:
        return SilentWriter()
    samples = samples_by_class(splits.train.labels, shares, splits.num_classes)
    byzantine = components.attack_plan.ever
    save_picture(directory / "partition.png", partition_picture(samples, splits.class_names, byzantine))
    config, resolved = components.config, components.resolved()
    facts_of_host = environment(comm.description, comm.size, str(comm.device))
    write_yaml(directory / "config.yaml", resolved)
    write_json(directory / "environment.json", facts_of_host)
    metrics = directory / "metrics.jsonl"
    writers = [JsonLines(metrics, done), progress(config.rounds, done), SummaryFile(directory)]
    if config.tracking.tensorboard:
        story = Story(
            byzantine=byzantine,
            num_clients=config.clients.count,
            partition=samples,
            class_names=splits.class_names,
            curves=config.tracking.clients,
            images_every=config.tracking.images_every,
            rounds=config.rounds,
            texts={"config": yaml.safe_dump(resolved, sort_keys=False), "environment": yaml.safe_dump(facts_of_host)},
            hparams=dict(hparams_of(resolved)),
        )
        writers.append(TensorBoard(directory, metrics, done, story))
    return ManyWriters(writers)
