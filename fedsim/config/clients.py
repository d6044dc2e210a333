"""The section ``clients``: who they are, and their local work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from fedsim.config.limits import MOST_CLIENTS
from fedsim.config.section import Section
from fedsim.settings import Schema


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
