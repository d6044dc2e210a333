"""The table of hyperparameters holds every setting, and TensorBoard puts first what differs."""

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.backend_context import Context
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from fedsim.records.hparams import hparams_of

RESOLVED: dict[str, Any] = {
    "seed": 0,
    "output_dir": "runs",
    "run_name": None,
    "data": {"name": "mnist", "root": None, "augment": [], "partition": {"name": "dirichlet", "alpha": 0.5}},
    "clients": {"count": 8, "optimizer": {"name": "sgd", "lr": 0.02}, "kernel": [3, 5]},
    "attack": {"name": "fang", "num_byzantine": 3, "strength": 0.1},
    "aggregator": {"name": "cwtm", "pre": [{"name": "bucketing", "size": 2}], "trim": None},
    "runtime": {"compile": False},
}


def test_every_setting_is_there_by_its_dotted_key() -> None:
    assert hparams_of(RESOLVED) == {
        "seed": 0,
        "data": "mnist",
        "data.root": "none",
        "data.augment": "none",
        "data.partition": "dirichlet",
        "data.partition.alpha": 0.5,
        "clients.count": 8,
        "clients.optimizer": "sgd",
        "clients.optimizer.lr": 0.02,
        "clients.kernel": "3, 5",
        "attack": "fang",
        "attack.num_byzantine": 3,
        "attack.strength": 0.1,
        "aggregator": "cwtm",
        "aggregator.pre": "bucketing",
        "aggregator.pre.size": 2,
        "aggregator.trim": "none",
        "runtime.compile": "false",
    }


def test_tensorboard_lists_the_settings_of_all_runs_and_first_those_that_differ(tmp_path: Path) -> None:
    attacks: list[Any] = [RESOLVED["attack"], [], {"name": "alie", "num_byzantine": 3, "z": 1.5}]
    for number, attack in enumerate(attacks):
        events: Any = SummaryWriter(str(tmp_path / str(number)))
        _, start, _ = hparams(hparams_of({**RESOLVED, "attack": attack, "seed": number}), {})
        events.file_writer.add_summary(start)
        events.close()
    provider = MultiplexerDataProvider(EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload(), str(tmp_path))
    plugin = Context(TBContext(data_provider=provider, logdir=str(tmp_path)))
    request = RequestContext()
    experiment = plugin.experiment_from_metadata(request, "", False, plugin.hparams_metadata(request, ""), [])
    names = [setting.name for setting in experiment.hparam_infos]
    assert names[:2] == ["attack", "seed"]
    assert {"attack.strength", "attack.z", "clients.optimizer.lr"} <= set(names)
