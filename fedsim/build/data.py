"""The data of a run: loaded, checked on all ranks, distributed over the clients."""

import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from fedsim.build.components import Components
from fedsim.build.data_placement import place_samples
from fedsim.comm import Communicator
from fedsim.data import Samples, Splits
from fedsim.data.feeds import Placement
from fedsim.data.fingerprint import fingerprint
from fedsim.data.images.channel_statistics import ChannelStatistics
from fedsim.data.images.resized import resized_splits
from fedsim.data.imbalance import draw_imbalanced
from fedsim.data.inputs import Inputs, View
from fedsim.data.loaded import require_splits
from fedsim.data.samples import Subset
from fedsim.data.sides import check_splits
from fedsim.data.split_file import NOBODY
from fedsim.data.validation import count_of, draw_validation, taken_from, warn_of_missing_classes
from fedsim.errors import ConfigError, FedsimWarning, keys_under
from fedsim.models import Task
from fedsim.seeds import derive_generator
from fedsim.training.losses import ClassCounts

log = logging.getLogger(__name__)

NAMED = 5
"""Clients that a warning names; the rest are counted."""


@dataclass(frozen=True)
class RunData:
    """What the clients train on and the model is evaluated on.

    Attributes:
        view: how images are shown to the model.
        input_shape: of one input of the model.
        client_indices: indices of each client's training samples.
        validation: indices of the training samples that are kept for validation and belong to no client.
        test_owners: the client that each test sample belongs to [N], -1 for none; None if they belong to nobody.
        digest: of all samples and what they are normalised by, by which other data are recognised.
        placement: where the samples lie.
    """

    splits: Splits
    view: View
    input_shape: tuple[int, ...]
    client_indices: Sequence[Tensor]
    validation: Tensor
    test_owners: Tensor | None
    digest: str
    placement: Placement = "host"

    @property
    def num_classes(self) -> int:
        """C."""
        return self.splits.num_classes

    @property
    def task(self) -> Task:
        """What the model is built for."""
        return task_of(self.splits, self.input_shape)

    @property
    def sample_counts(self) -> list[int]:
        """Training samples of each client."""
        return [len(indices) for indices in self.client_indices]

    def train_inputs(self, device: torch.device) -> Inputs:
        """Training samples as the model is shown them."""
        return Inputs(self.splits.train, self.view, device, self.placement)

    def test_inputs(self, device: torch.device) -> Inputs:
        """Test samples as the model is shown them."""
        return Inputs(self.splits.test, self.view, device, self.placement)

    def validation_inputs(self, device: torch.device) -> Inputs:
        """Validation samples as the model is shown them."""
        return Inputs(Subset(self.splits.train, self.validation), self.view, device, self.placement)


def task_of(splits: Splits, input_shape: tuple[int, ...]) -> Task:
    """What a model is built for that is shown inputs of this shape."""
    return Task(
        input_shape=input_shape,
        num_classes=splits.num_classes,
        vocabulary=splits.vocabulary,
        per_token=splits.train.labels.ndim > 1,
    )


def load_data(components: Components, comm: Communicator) -> RunData:
    """The data of a run, the same on every rank.

    Raises:
        ConfigError: they are missing or damaged, differ between ranks, or do not fit the configuration.
    """
    with _warnings_logged():
        return _load_data(components, comm)


def _load_data(components: Components, comm: Communicator) -> RunData:
    with comm.first_on_each_host("load data"):
        with keys_under("data"):
            with components.source.own_draws(lambda: 0, "load"):
                splits = components.source.load(components.data_root)
            if components.source.is_of_a_plugin():
                require_splits(splits, components.source.who)
            check_splits(splits)
        statistics = components.statistics(splits)
        config = components.config.data
        with keys_under("data"):
            kept = splits if config.resize is None else resized_splits(splits, config.resize, config.interpolation)
        kept = replace(kept, train=imbalanced(components, kept.train))
    digest = fingerprint(splits, statistics)
    _require_same_data(comm, digest)
    if statistics is not None and comm.rank == 0:
        log.info("images are normalised by %s", statistics)
    with keys_under("clients.loss"):
        components.loss.class_weights(ClassCounts(*[torch.ones(splits.num_classes)] * 2))
    placement = place_samples(config.placement, kept, comm, validation=config.validation)
    return replace(distribute(components, kept, statistics, digest), placement=placement)


def distribute(
    components: Components, splits: Splits, statistics: ChannelStatistics | None, digest: str = ""
) -> RunData:
    """The samples distributed over the clients, and the way in which the model sees them."""
    view = components.view(statistics)
    with keys_under("data"):
        input_shape = view.shape(splits)
    divided = partition(components, splits.train, splits.test)
    if len(divided.validation):
        warn_of_missing_classes(splits.train.labels[divided.validation], splits.class_names)
    return RunData(splits, view, input_shape, divided.clients, divided.validation, divided.test_owners, digest)


def imbalanced(components: Components, train: Samples) -> Samples:
    """The training samples that ``data.imbalance`` leaves; all of them by default.

    They are the same for all seeds, as in Cao et al.'s long-tailed CIFAR-10: which data there are is no draw of a
    run, and a split that is saved by one fits the next.
    """
    config = components.config
    if config.data.imbalance == 1:
        return train
    generator = derive_generator(0, "imbalance")
    return Subset(train, draw_imbalanced(train.labels, config.data.imbalance, generator))


class Divided(NamedTuple):
    """Whose each sample is: ``client_indices``, ``validation`` and ``test_owners`` of :class:`RunData`."""

    clients: Sequence[Tensor]
    validation: Tensor
    test_owners: Tensor | None


def partition(components: Components, train: Samples, test: Samples) -> Divided:
    """The training samples distributed over the clients, but for those that are kept for validation."""
    config, partitioner, columns = components.config, components.partitioner, train.columns
    generator, validation = derive_generator(config.seed, "partition"), _validation(components, train.labels)
    if len(validation) == 0 or partitioner.follows_owners:
        indices = partitioner.partition(train.labels, config.clients.count, generator, columns)
        indices = [taken_from(of_client, validation) for of_client in indices] if len(validation) else indices
    else:
        rest = taken_from(torch.arange(len(train)), validation)
        left = Subset(train, rest)
        of_rest = partitioner.partition(left.labels, config.clients.count, generator, left.columns)
        indices = [rest[of_client] for of_client in of_rest]
    _require_training(indices, components.attack_plan.always_idle)
    return Divided(indices, validation, partitioner.owners_of_tests(columns, test.columns))


def _validation(components: Components, labels: Tensor) -> Tensor:
    """Indices of the training samples that are kept for validation: drawn, or those of a saved split.

    Raises:
        ConfigError: the saved split keeps another number of samples for validation.
    """
    share, saved = components.config.data.validation, components.partitioner.validation_samples()
    if saved is not None and (share == 0 or len(saved) != count_of(share, len(labels))):
        problem = f"{share:g}, but the split of data.partition.path keeps {len(saved)} of {len(labels)} samples"
        raise ConfigError("data.validation", problem, f"set it to {len(saved) / len(labels):.6g}")
    if share == 0:
        return NOBODY
    generator = derive_generator(components.config.seed, "validation")
    return draw_validation(labels, share, generator) if saved is None else saved


def _require_training(client_indices: Sequence[Tensor], idle: Collection[int]) -> None:
    """FedsimWarning for clients that never train, because a batch has at least two samples.

    Args:
        client_indices: samples of each client.
        idle: clients that are to do no local work.

    Raises:
        ConfigError: no client ever trains.
    """
    working = [client for client in range(len(client_indices)) if client not in idle]
    never = [client for client in working if len(client_indices[client]) < 2]
    if not never:
        return
    remedy = "take fewer clients, or more samples"
    if never == working:
        problem = "no client that trains has two samples, so none has a batch and nothing is ever trained"
        raise ConfigError("clients.count", problem, remedy)
    more = f" and {len(never) - NAMED} more" if len(never) > NAMED else ""
    who = f"client {never[0]} has" if len(never) == 1 else f"clients {', '.join(map(str, never[:NAMED]))}{more} have"
    text = f"{who} fewer than two samples, so no batch, and never train{'s' * (len(never) == 1)}"
    warnings.warn(f"{text}; {remedy}, or set data.partition.min_samples: 2", FedsimWarning, stacklevel=3)


@contextmanager
def _warnings_logged() -> Iterator[None]:
    """Log fedsim's warnings from the block, each once: rank 0 shows them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FedsimWarning)
        try:
            yield
        finally:
            for text in dict.fromkeys(str(warning.message) for warning in caught):
                log.warning("warning: %s", text)


def _require_same_data(comm: Communicator, digest: str) -> None:
    """ConfigError if a rank has loaded other data than rank 0."""
    digests = comm.all_gather(torch.tensor(list(digest.encode())))
    others = (digests != digests[0]).any(1).nonzero().flatten().tolist()
    if others:
        who = ", ".join(str(comm.monitor.status(rank)) for rank in others)
        problem = f"{who} loaded other data than rank 0"
        raise ConfigError("data", problem, "use the same files on all hosts, and do not change them meanwhile")
