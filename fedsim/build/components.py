"""From a configuration to its components, built and checked. Nothing is opened or loaded yet."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from fedsim.aggregators import Aggregator, aggregators
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import Attack, attacks
from fedsim.build.attack_plan import attack_key, plan_attacks
from fedsim.build.plugins import plugins_that_count
from fedsim.config.run import RunConfig
from fedsim.config.section import Section
from fedsim.data import Splits
from fedsim.data.augmentations import Augmentation, augmentations
from fedsim.data.images.channel_statistics import ChannelStatistics
from fedsim.data.inputs import View
from fedsim.data.partitioners import Partitioner, partitioners
from fedsim.data.sources import DataSource, sources
from fedsim.errors import ConfigError, FedsimWarning, counted, did_you_mean, keys_under, unknown_key
from fedsim.evaluation.metrics import metrics
from fedsim.evaluation.run_metrics import KEY, RunMetrics
from fedsim.files import user_path
from fedsim.models import ModelBuilder, models
from fedsim.models.adapters import require_peft
from fedsim.participation.attack_plan import AttackPlan
from fedsim.records.loggers import Logger, loggers
from fedsim.registry import Component, Registry
from fedsim.run_directory.plugin_source import PluginSource
from fedsim.training.losses import Loss, losses
from fedsim.training.optimizers import MakeOptimizer, optimizer_maker
from fedsim.training.schedules import Schedule, schedules
from fedsim.training.vectorized_checks import require_elementwise

C = TypeVar("C", bound=Component)

BUFFER_RULES: Mapping[str, str | None] = {"cwmed": "cwmed", "mean": "fedavg", "in_row": None}


@dataclass(frozen=True)
class Components:
    """Everything that a configuration names, built and checked.

    Attributes:
        plugins: those that its results depend on.
    """

    config: RunConfig
    source: DataSource
    partitioner: Partitioner
    augmentations: list[Augmentation]
    model: ModelBuilder
    attacks: list[Attack]
    attack_plan: AttackPlan
    defence: Defence
    buffer_aggregator: Aggregator | None
    loss: Loss
    client_schedule: Schedule
    server_schedule: Schedule
    client_optimizer: MakeOptimizer
    server_optimizer: MakeOptimizer
    metrics: RunMetrics
    loggers: Sequence[Logger] = ()
    plugins: Sequence[PluginSource] = ()

    @property
    def registered(self) -> list[Component]:
        """Every component of a registry that results may depend on."""
        one_each = [self.source, self.partitioner, self.model, self.loss, self.client_schedule, self.server_schedule]
        defence = [*self.defence.pre, self.defence.aggregator]
        return [*one_each, *self.augmentations, *self.attacks, *defence, *self.metrics]

    @property
    def data_root(self) -> Path | None:
        root = self.config.data.root
        return None if root is None else user_path(root, "data.root")

    @property
    def output_dir(self) -> Path:
        """Folder of all run directories."""
        return user_path(self.config.output_dir, "output_dir")

    def require_data(self) -> None:
        """Raise ConfigError if the data are not where they should be."""
        root = self.data_root
        with keys_under("data"):
            self.source.check(root)

    def statistics(self, splits: Splits) -> ChannelStatistics | None:
        """What images are normalised by: what is configured, else what the model expects, else of the data set.

        Raises:
            ConfigError: numbers are configured that do not fit, or for data that are no images.
        """
        normalize, channels = self.config.data.normalize, splits.input_shape[0]
        if normalize == "none":
            return None
        if normalize == "auto":
            with keys_under("model"):
                expected = self.model.normalization(channels)
            if expected is not None:
                mean, std = expected
                return ChannelStatistics(tuple(mean), tuple(std), "of the pre-trained model")
            with keys_under("data"):
                return self.source.statistics(splits)
        if len(splits.input_shape) != 3:
            raise ConfigError("data.normalize", "these data are no images", "leave it out")
        for key, values in (("mean", normalize.mean), ("std", normalize.std)):
            if len(values) != channels:
                problem = f"{len(values)} values for {channels} channels"
                raise ConfigError(f"data.normalize.{key}", problem, f"give {channels}")
        return ChannelStatistics(tuple(normalize.mean), tuple(normalize.std), "of data.normalize")

    def view(self, statistics: ChannelStatistics | None) -> View:
        """How images are shown to the model, normalised by ``statistics``."""
        data = self.config.data
        return View(
            augmentations=self.augmentations,
            resize=data.resize,
            crop=data.crop,
            resolution=data.resolution,
            interpolation=data.interpolation,
            normalization=None if statistics is None else (statistics.mean, statistics.std),
        )

    def resolved(self) -> dict[str, Any]:
        """The configuration with every default filled in, the components' own included."""
        flat = self.config.flat()
        for section, component in (
            (flat["data"], self.source),
            (flat["data"]["partition"], self.partitioner),
            (flat["model"], self.model),
            (flat["aggregator"], self.defence.aggregator),
            (flat["clients"]["loss"], self.loss),
            (flat["clients"]["schedule"], self.client_schedule),
            (flat["server"]["schedule"], self.server_schedule),
        ):
            section.update(component.settings.model_dump())
        sections = flat["attack"] if isinstance(flat["attack"], list) else [flat["attack"]]
        for section, attack in zip(sections, self.attacks, strict=True):
            section.update(attack.settings.model_dump())
        for section, pre in zip(flat["aggregator"]["pre"], self.defence.pre, strict=True):
            section.update(pre.settings.model_dump())
        for section, augmentation in zip(flat["data"]["augment"], self.augmentations, strict=True):
            section.update(augmentation.settings.model_dump())
        for section, metric in zip(flat["evaluation"]["metrics"], self.metrics, strict=True):
            section.update(metric.settings.model_dump())
        for section, logger in zip(flat["tracking"]["loggers"], self.loggers, strict=True):
            section.update(logger.settings.model_dump())
        return flat

    @property
    def tolerated(self) -> list[tuple[str, int]]:
        """The methods that are built for up to f Byzantine clients, with their f where all rows arrive."""
        return self.defence.tolerated(self.config.participants_per_round)

    @property
    def attack_names(self) -> str:
        """The attacks of the run, joined by ``+``."""
        return "+".join(dict.fromkeys(section.name for section in self.config.attack)) or "none"

    def run_name(self) -> str:
        """The configured name, or one made from data, attack, aggregator and seed."""
        config = self.config
        made = f"{config.data.name}-{self.attack_names}-{config.aggregator.name}-seed{config.seed}"
        return config.run_name or made


def build_components(
    config: RunConfig, plugins: Sequence[PluginSource] = (), *, require_data: bool = True
) -> Components:
    """Build every component of a configuration.

    Args:
        plugins: that have been loaded.
        require_data: whether the data must be where they should be, and what loggers need must be installed.

    Raises:
        ConfigError: the first problem, by dotted key; nothing has been started then.
    """
    clients, rule = config.clients, BUFFER_RULES[config.server.buffers]
    run_attacks = [
        _component(attacks, section, attack_key(config.attack, position))
        for position, section in enumerate(config.attack)
    ]
    plan = plan_attacks(config, [attack.trains for attack in run_attacks])
    byzantine = plan.most[0]
    components = Components(
        config=config,
        source=_component(sources, config.data, "data"),
        partitioner=_component(partitioners, config.data.partition, "data.partition"),
        augmentations=[
            _component(augmentations, section, f"data.augment.{position}")
            for position, section in enumerate(config.data.augment)
        ],
        model=_component(models, config.model, "model", weights=config.model.weights),
        attacks=run_attacks,
        attack_plan=plan,
        defence=Defence(
            _component(aggregators, config.aggregator, "aggregator", num_byzantine=byzantine),
            [
                _component(pre_aggregators, section, f"aggregator.pre.{position}", num_byzantine=byzantine)
                for position, section in enumerate(config.aggregator.pre)
            ],
        ),
        buffer_aggregator=aggregators.build(rule) if rule else None,
        loss=_component(losses, clients.loss, "clients.loss"),
        client_schedule=_component(schedules, clients.schedule, "clients.schedule"),
        server_schedule=_component(schedules, config.server.schedule, "server.schedule"),
        client_optimizer=optimizer_maker(
            clients.optimizer.name, clients.optimizer.component_settings, "clients.optimizer"
        ),
        server_optimizer=optimizer_maker(
            config.server.optimizer.name, config.server.optimizer.component_settings, "server.optimizer"
        ),
        metrics=RunMetrics(
            [
                _component(metrics, section, f"{KEY}.{position}")
                for position, section in enumerate(config.evaluation.metrics)
            ],
            config.seed,
        ),
        loggers=[
            _component(loggers, section, f"tracking.loggers.{position}")
            for position, section in enumerate(config.tracking.loggers)
        ],
    )
    if clients.vectorize > 1 and clients.send == "delta":
        require_elementwise(components.client_optimizer, clients.optimizer.name)
    with keys_under("aggregator"):
        components.defence.check(config.participants_per_round)
    _warn_of_too_small_f(components)
    if config.stopping is not None and not config.stopping.metric.startswith("validation."):
        text = f"stopping.metric: {config.stopping.metric} looks at the test data, so that results on them flatter"
        warnings.warn(f"{text}; take one of validation samples (data.validation: 0.1)", FedsimWarning, stacklevel=2)
    for position, (section, attack) in enumerate(zip(config.attack, run_attacks, strict=True)):
        with keys_under(attack_key(config.attack, position)):
            attack.check(clients.count, section.count(clients.count))
    user_path(Path(config.output_dir) / components.run_name(), "output_dir")
    if require_data:
        components.require_data()
        for position, logger in enumerate(components.loggers):
            with keys_under(f"tracking.loggers.{position}"):
                logger.check()
    components.partitioner.check()
    with keys_under("model"):
        components.model.check()
        if config.model.adapter is not None:
            require_peft()
    return replace(components, plugins=plugins_that_count(plugins, components.registered))


def _warn_of_too_small_f(components: Components) -> None:
    """One FedsimWarning for all methods that defend against fewer Byzantine clients than the run has."""
    byzantine = components.attack_plan.most[0]
    too_small = [f"{name} defends against {f}" for name, f in components.tolerated if f < byzantine]
    if too_small and components.attack_names != "none":
        run = f"the run has {counted(byzantine, 'Byzantine client')}"
        text = f"aggregator.num_byzantine: {run}, but {' and '.join(too_small)}"
        warnings.warn(text, FedsimWarning, stacklevel=3)


def _component(
    registry: Registry[C], section: Section, prefix: str, num_byzantine: int | None = None, **more: Any
) -> C:
    """The component that a section names, checked; ``more`` is what it is given beside its settings."""
    settings = dict(section.component_settings)
    if num_byzantine is not None and settings.get("num_byzantine") == "oracle":
        settings["num_byzantine"] = num_byzantine
    with keys_under(prefix):
        known = registry.get(section.name).Settings.model_fields
        for key, value in settings.items():
            if key not in known:
                hint = did_you_mean(key, {*known, *section.own_keys(), "name"})
                raise ConfigError(key, unknown_key(value), hint)
        return registry.build(section.name, **settings, **more)
