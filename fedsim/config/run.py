"""The configuration of a run: every key with its default, checked before anything starts.

Which settings of a component (an attack's, an aggregator's) are valid only the component knows: see
:mod:`fedsim.config.section`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, ClassVar, Literal

from pydantic import Field

from fedsim.config.attack import AttackSection
from fedsim.config.clients import ClientsSection, OptimizerSection, ScheduleSection
from fedsim.config.combinations import check_combinations
from fedsim.config.data import DataSection
from fedsim.config.limits import MOST_ITEMS, MOST_ROUNDS
from fedsim.config.section import OneOrMore, Section, plain
from fedsim.errors import ConfigError
from fedsim.settings import Schema, parse_settings

RUN_NAME = r"^\w[\w.+=-]*$"
"""A name that is a folder's and nothing else, whatever becomes of it."""


class AdapterSection(Schema):
    """Low-rank adapters of a model that is not trained itself."""

    rank: int = Field(8, ge=1, le=10**4, description="of each adapter: it adds two matrices that have it as one side")
    alpha: float = Field(16.0, gt=0, description="an adapter's output is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in front of each adapter")
    targets: list[str] = Field(
        default_factory=list, description="layers that get one, as in qkv or blocks.[0-5].*; none: all linear layers"
    )
    head: bool = Field(True, description="whether the head is trained, too")


class ModelSection(Section):
    """The model, what it starts from, and which part of it is trained."""

    name: str = Field("small_cnn", description="model")
    weights: str | None = Field(
        None,
        min_length=1,
        description="start from this file: safetensors, a torch checkpoint of tensors only, or a checkpoint of a "
        "run; the head is new if classes differ",
    )
    adapter: AdapterSection | None = Field(
        None,
        description="train adapters (LoRA) of the frozen model, and its head: {rank: 8, alpha: 16, dropout: 0.0, "
        "targets: [], head: true}",
    )
    freeze: list[str] = Field(
        default_factory=list, description="patterns of parameters that are neither trained nor sent, as in layer1.*"
    )

    follow_name: ClassVar[frozenset[str]] = frozenset({"weights", "adapter"})


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
    sharded: bool | Literal["auto"] = Field(
        "auto",
        description="true: every rank runs attack and aggregator on some columns of the rows; false: rank 0 on all; "
        "auto: on some columns where the rows do not fit on rank 0; results are the same",
    )


class MetricSection(Section):
    """One metric beside accuracy and loss."""


class EvaluationSection(Schema):
    """When and how the global model is evaluated."""

    every: int = Field(1, ge=1, description="rounds between evaluations; the last round is always evaluated")
    batch_size: int = Field(250, ge=1, le=2**31, description="samples in an evaluation batch")
    metrics: list[MetricSection] = Field(
        default_factory=list, max_length=MOST_ITEMS, description="what is measured beside accuracy, loss and the like"
    )


class StoppingSection(Schema):
    """Early stopping."""

    metric: Literal[
        "validation.accuracy",
        "validation.balanced_accuracy",
        "validation.loss",
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "loss",
    ] = Field("validation.accuracy", description="what has to improve; of a loss, lower is better")
    patience: int = Field(10, ge=1, description="the run ends after so many evaluations without improvement")
    at_least: int = Field(1, ge=1, description="rounds that are run in any case")


class CheckpointSection(Schema):
    """When checkpoints are written, and how many stay."""

    every: int = Field(5, ge=1, description="rounds between checkpoints; the last round always gets one")
    keep: int = Field(2, ge=1, description="how many checkpoints stay on disk")


class LoggerSection(Section):
    """One logger."""


class TrackingSection(Schema):
    """What is recorded about rounds, and what TensorBoard shows."""

    diagnose_every: int = Field(
        1,
        ge=1,
        description="rounds between comparisons of the updates with the honest mean (cosine_to_honest, "
        "aggregation_error); the last round always gets one",
    )
    tensorboard: bool = Field(True, description="write TensorBoard events")
    clients: int = Field(
        0, ge=0, description="how many clients get TensorBoard curves of their own; metrics.jsonl has all of them"
    )
    classes: bool = Field(
        False, description="a TensorBoard curve of each class's recall; metrics.jsonl has it in any case"
    )
    images_every: int = Field(
        10, ge=0, description="rounds between images, the last round has them too; 0: no images"
    )
    loggers: list[LoggerSection] = Field(
        default_factory=list,
        max_length=MOST_ITEMS,
        description="where rounds are recorded beside metrics.jsonl",
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
    compile_kernels: bool | Literal["auto"] = Field(
        "auto",
        description="torch.compile the server's column maps (medians, trimmed means, votes); auto: where that pays; "
        "results are the same",
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
    stopping: StoppingSection | None = Field(
        None,
        description="end the run when it no longer improves: {metric: validation.accuracy, patience: 10, "
        "at_least: 1}",
    )
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
