"""The configuration of a run: every key with its default, checked before anything starts.

Which settings of a component (an attack's, an aggregator's) are valid only the component knows: see
:mod:`fedsim.config.section`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveFloat

from fedsim.config.attack import AttackSection
from fedsim.config.combinations import check_combinations
from fedsim.config.section import OneOrMore, Section, plain
from fedsim.errors import ConfigError
from fedsim.settings import Schema, parse_settings

MOST_CLIENTS, MOST_ROUNDS, MOST_PIXELS = 10**6, 10**9, 2**14
"""Beyond what anybody simulates: the largest published federations have some hundred thousand clients, a billion
rounds of a millisecond take twelve days, and no model takes images of 16 384 pixels a side. Whether that much fits
into this machine's memory is asked where the size is known."""

MOST_ITEMS = 100
"""Attacks, pre-aggregators or augmentations of a run."""


RUN_NAME = r"^\w[\w.+=-]*$"
"""A name that is a folder's and nothing else, whatever becomes of it."""


class PartitionSection(Section):
    """How training samples are distributed over the clients."""

    name: str = Field("dirichlet", description="how training samples are distributed over the clients")


class AugmentSection(Section):
    """One augmentation of training images."""


class NormalizeSection(Schema):
    """Statistics that images are normalised by."""

    mean: list[float] = Field(min_length=1, description="of each channel, of values from 0 to 1")
    std: list[PositiveFloat] = Field(min_length=1, description="of each channel")


class DataSection(Section):
    """The data set, its split, and how images are shown to the model."""

    name: str = Field("mnist5k", description="data set")
    root: str | None = Field(None, min_length=1, description="folder of the data, where the data set needs one")
    augment: list[AugmentSection] = Field(
        default_factory=list, max_length=MOST_ITEMS, description="what is done to training images at random, in order"
    )
    resize: int | None = Field(
        None,
        ge=1,
        le=MOST_PIXELS,
        description="pixels per side of the square to which each image is first scaled, whatever its shape",
    )
    crop: int | None = Field(
        None,
        ge=1,
        le=MOST_PIXELS,
        description="pixels per side of what is cut out, at random in training, else in the middle",
    )
    resolution: int | None = Field(
        None, ge=1, le=MOST_PIXELS, description="pixels per side to which images are then scaled"
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear", description="how resize and resolution scale images; results depend on it"
    )
    normalize: Literal["auto", "none"] | NormalizeSection = Field(
        "auto",
        description="auto: as the model was pre-trained, else by the statistics of the data set; none; or "
        "{mean: [...], std: [...]} of the channels",
    )
    placement: Literal["auto", "device", "host"] = Field(
        "auto",
        description="where samples lie: device: on the GPU; host: in the host's memory; auto: on the GPU where they "
        "take at most half of its free memory",
    )
    partition: PartitionSection = Field(default_factory=lambda: PartitionSection(), description="partitioner")


class ModelSection(Section):
    """The model, and which part of it is trained."""

    name: str = Field("small_cnn", description="model")
    freeze: list[str] = Field(
        default_factory=list, description="patterns of parameters that are neither trained nor sent, as in layer1.*"
    )


class OptimizerSection(Section):
    """An optimiser by name, with its keyword arguments."""

    name: str = Field("sgd", description="any optimiser of torch.optim, by its class name in any case")


class ClientOptimizerSection(OptimizerSection):
    """The clients' optimiser, new in every round."""

    defaults_for: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "sgd": {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.0}
    }


class LossSection(Section):
    """What clients minimise."""

    name: str = Field("cross_entropy", description="what clients minimise")


class ScheduleSection(Section):
    """How a learning rate changes over rounds."""

    name: str = Field("constant", description="factor of the learning rate over rounds")


class ClientsSection(Schema):
    """The clients and their local work."""

    count: int = Field(8, ge=1, le=MOST_CLIENTS, description="number of clients")
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the clients that take part in a round, drawn in each"
    )
    local_epochs: int = Field(1, ge=1, description="passes over the client's data in a round")
    local_steps: int | None = Field(None, ge=1, description="optimiser steps in a round, instead of local_epochs")
    batch_size: int = Field(32, ge=2, le=2**31, description="samples in a batch; a batch of one sample is skipped")
    send: Literal["delta", "gradient"] = Field(
        "delta", description="delta: w_global - w_client; gradient: of one batch, needs local_steps: 1"
    )
    optimizer: ClientOptimizerSection = Field(
        default_factory=lambda: ClientOptimizerSection(), description="of the clients, new in every round"
    )
    schedule: ScheduleSection = Field(default_factory=lambda: ScheduleSection())
    loss: LossSection = Field(default_factory=lambda: LossSection())
    momentum: float = Field(
        0.0, ge=0, lt=1, description="clients send the momentum of their updates, kept over rounds (Karimireddy 2021)"
    )
    proximal: float = Field(0.0, ge=0, description="mu of FedProx: weight of the proximal term")
    clip_norm: float | None = Field(
        None, gt=0, description="gradient-norm clipping: a longer gradient of a step is scaled down to this norm"
    )
    micro_batches: int = Field(1, ge=1, description="pieces into which a batch is split, to save memory")
    vectorize: int = Field(
        1, ge=1, le=MOST_CLIENTS, description="clients that a rank trains at once; results depend on it"
    )


class PreSection(Section):
    """One pre-aggregator."""


class AggregatorSection(Section):
    """The robust aggregator, and what stands in front of it."""

    name: str = Field("fedseca", description="aggregator")
    pre: list[PreSection] = Field(
        default_factory=list, max_length=MOST_ITEMS, description="pre-aggregators in front of it, in order"
    )


class ServerOptimizerSection(OptimizerSection):
    """The server's optimiser, which takes the aggregate as gradient."""

    defaults_for: ClassVar[Mapping[str, Mapping[str, Any]]] = {"sgd": {"lr": 1.0}}


class ServerSection(Schema):
    """What the server does with the aggregate."""

    optimizer: ServerOptimizerSection = Field(
        default_factory=lambda: ServerOptimizerSection(), description="takes the aggregate as gradient"
    )
    schedule: ScheduleSection = Field(default_factory=lambda: ScheduleSection())
    buffers: Literal["cwmed", "mean", "in_row"] = Field(
        "cwmed", description="how BatchNorm buffers are aggregated; in_row: as further coordinates of the row"
    )


class EvaluationSection(Schema):
    """When and how the global model is evaluated."""

    every: int = Field(1, ge=1, description="rounds between evaluations; the last round is always evaluated")
    batch_size: int = Field(250, ge=1, le=2**31, description="samples in an evaluation batch")


class CheckpointSection(Schema):
    """When checkpoints are written, and how many stay."""

    every: int = Field(5, ge=1, description="rounds between checkpoints; the last round always gets one")
    keep: int = Field(2, ge=1, description="how many checkpoints stay on disk")


class TrackingSection(Schema):
    """What TensorBoard shows."""

    tensorboard: bool = Field(True, description="write TensorBoard events")
    clients: int = Field(
        16, ge=0, description="how many clients get TensorBoard curves of their own; metrics.jsonl has all of them"
    )
    images_every: int = Field(
        10, ge=0, description="rounds between images, the last round has them too; 0: no images"
    )


class RuntimeSection(Schema):
    """Where and how the ranks compute, and what they do when something goes wrong."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where clients compute")
    threads: int = Field(1, ge=1, le=1024, description="CPU threads of each rank; results depend on it")
    deterministic: bool = Field(True, description="deterministic algorithms only")
    compile: bool = Field(False, description="torch.compile the clients' model; results depend on it")
    compile_mode: Literal["default", "reduce-overhead"] = Field(
        "default",
        description="of torch.compile; reduce-overhead replays CUDA graphs, for steps of many small kernels; results "
        "depend on it",
    )
    matmul: Literal["highest", "tf32"] = Field(
        "highest",
        description="what clients compute float32 matrix products and convolutions in on a GPU; results depend on it",
    )
    amp: Literal["none", "bfloat16", "float16"] = Field(
        "none", description="mixed precision: what clients multiply matrices in; results depend on it"
    )
    channels_last: bool = Field(False, description="images with channels innermost; results depend on it")
    wire_dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="rows are rounded to it")
    nonfinite: Literal["drop", "zero", "error"] = Field("drop", description="rows with NaN or infinity")
    on_divergence: Literal["stop", "continue"] = Field(
        "stop",
        description="what happens when training diverges: NaN in the global model, its test loss or all updates",
    )
    check_every: int = Field(10, ge=1, description="rounds between checks that all ranks hold the same parameters")
    timeout: float = Field(600, gt=0, le=1e6, description="seconds that ranks wait for each other")


class RunConfig(Schema):
    """Every key of a run with its default; configs/quickstart.yaml differs in attack and aggregator.momentum."""

    seed: int = Field(0, ge=0, description="every draw of the run derives from it")
    rounds: int = Field(10, ge=1, le=MOST_ROUNDS, description="rounds to run")
    output_dir: str = Field("runs", description="folder of all run directories")
    run_name: str | None = Field(
        None,
        min_length=1,
        max_length=250,
        pattern=RUN_NAME,
        description="made from data, attack, aggregator and seed if null",
    )
    data: DataSection = Field(default_factory=lambda: DataSection())
    model: ModelSection = Field(default_factory=lambda: ModelSection())
    clients: ClientsSection = Field(default_factory=lambda: ClientsSection())
    attack: OneOrMore[AttackSection] = Field(default_factory=lambda: [AttackSection()], max_length=MOST_ITEMS)
    aggregator: AggregatorSection = Field(default_factory=lambda: AggregatorSection())
    server: ServerSection = Field(default_factory=lambda: ServerSection())
    evaluation: EvaluationSection = Field(default_factory=lambda: EvaluationSection())
    checkpoint: CheckpointSection = Field(default_factory=lambda: CheckpointSection())
    tracking: TrackingSection = Field(default_factory=lambda: TrackingSection())
    runtime: RuntimeSection = Field(default_factory=lambda: RuntimeSection())

    @property
    def participants_per_round(self) -> int:
        """How many clients take part in a round: at least one."""
        return max(1, round(self.clients.count * self.clients.fraction))

    @property
    def clients_at_once(self) -> int:
        """How many clients a rank trains at once, at most."""
        return min(self.clients.vectorize, self.participants_per_round)

    @property
    def most_hosts(self) -> int:
        """How many ranks can have clients: those of a group that is trained at once are on one."""
        if self.clients_at_once == 1:
            return self.clients.count
        return ceil(self.participants_per_round / self.clients_at_once)

    def flat(self) -> dict[str, Any]:
        """The configuration as plain YAML values."""
        values = {key: plain(getattr(self, key)) for key in type(self).model_fields}
        return {**values, "attack": values["attack"][0] if len(self.attack) == 1 else values["attack"]}


def parse_config(values: Mapping[str, Any]) -> RunConfig:
    """The checked configuration.

    Raises:
        ConfigError: the first problem, by dotted key.
    """
    try:
        config = parse_settings(RunConfig, values)
    except ConfigError as error:
        if isinstance(values.get("attack", {}), Mapping) and error.key.startswith("attack.0"):  # not given as a list
            raise ConfigError(f"attack{error.key[len('attack.0') :]}", error.problem, error.remedy) from None
        raise
    check_combinations(config)
    return config
