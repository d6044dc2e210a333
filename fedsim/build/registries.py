"""The registries of components, by kind and by the section of the configuration that names one."""

from collections.abc import Mapping
from typing import Any

from fedsim.aggregators import aggregators
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import attacks
from fedsim.config.attack import AttackSection
from fedsim.config.clients import LossSection, ScheduleSection
from fedsim.config.data import AugmentSection, DataSection, PartitionSection
from fedsim.config.run import AggregatorSection, LoggerSection, MetricSection, ModelSection, PreSection
from fedsim.config.section import Section
from fedsim.data.augmentations import augmentations
from fedsim.data.partitioners import partitioners
from fedsim.data.sources import sources
from fedsim.evaluation.metrics import metrics
from fedsim.models import models
from fedsim.records.loggers import loggers
from fedsim.registry import Registry
from fedsim.training.losses import losses
from fedsim.training.schedules import schedules

REGISTRIES: Mapping[str, Registry[Any]] = {
    "aggregators": aggregators,
    "pre-aggregators": pre_aggregators,
    "attacks": attacks,
    "data sets": sources,
    "partitioners": partitioners,
    "augmentations": augmentations,
    "models": models,
    "losses": losses,
    "schedules": schedules,
    "metrics": metrics,
    "loggers": loggers,
}

REGISTRY_OF: Mapping[type[Section], Registry[Any]] = {
    DataSection: sources,
    PartitionSection: partitioners,
    AugmentSection: augmentations,
    ModelSection: models,
    AttackSection: attacks,
    AggregatorSection: aggregators,
    PreSection: pre_aggregators,
    LossSection: losses,
    ScheduleSection: schedules,
    MetricSection: metrics,
    LoggerSection: loggers,
}
