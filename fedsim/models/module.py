"""A torch module of the user's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import nn

from fedsim.errors import ConfigError, did_you_mean
from fedsim.models.base import ModelBuilder, models
from fedsim.models.module_checks import require_module, try_module
from fedsim.models.module_path import KEY, ModuleMaker, find_maker
from fedsim.models.task import Task
from fedsim.settings import Schema


@models.register("module")
class UserModule(ModelBuilder):
    """A torch module of yours: `model.path=my_net.py:Net`, and `--plugin my_net.py` on the command line.

    The class, or a function that returns a module, is called with ``arguments``, and with what it asks for by name of
    ``num_classes``, ``input_shape``, ``in_channels`` (the first of ``input_shape``) and, where inputs are token ids,
    ``vocabulary`` and ``per_token``. It must give logits [n, num_classes], or [n, T, num_classes] where each token
    has a class.
    """

    class Settings(Schema):
        path: str | None = Field(None, description="file and class, as in my_net.py:Net; --plugin gives the file")
        arguments: dict[str, Any] = Field({}, description="further arguments of the class, by name")

    settings: Settings

    @property
    def further_files(self) -> list[Path]:
        return [find_maker(self.settings.path).file]

    def check(self) -> None:
        maker = find_maker(self.settings.path)
        known = [name for name in maker.parameters if name != "self"]
        for name in () if maker.takes_any else self.settings.arguments:
            if name not in known:
                raise ConfigError(f"arguments.{name}", f"{maker.label} does not take it", did_you_mean(name, known))

    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return self.build_for(Task(input_shape=input_shape, num_classes=num_classes))

    def build_for(self, task: Task) -> nn.Module:
        self.check()
        maker = find_maker(self.settings.path)
        arguments = {**_asked(maker, _offered(task)), **self.settings.arguments}
        _require_all_given(maker, arguments)
        try:
            made = maker.make(**arguments)
        except (Exception, SystemExit) as error:
            problem = f"{maker.label} cannot be made: {maker.reason(error)}"
            raise ConfigError(KEY, problem, "fix the file, or model.arguments") from None
        module = require_module(made, maker)
        try_module(module, task, maker)
        return module


def _offered(task: Task) -> dict[str, Any]:
    """What a module may ask for by name."""
    offered: dict[str, Any] = {"num_classes": task.num_classes, "input_shape": task.input_shape}
    if task.vocabulary is None:
        return {**offered, "in_channels": task.input_shape[0]}
    return {**offered, "vocabulary": task.vocabulary, "per_token": task.per_token}


def _asked(maker: ModuleMaker, offered: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in offered.items() if name in maker.parameters}


def _require_all_given(maker: ModuleMaker, arguments: Mapping[str, Any]) -> None:
    missing = [
        name
        for name, parameter in maker.parameters.items()
        if parameter.default is parameter.empty and name not in arguments
    ]
    if missing:
        problem = f"{maker.label} asks for {' and '.join(missing)}, which nothing gives"
        raise ConfigError(KEY, problem, f"write model.arguments.{missing[0]}=..., or give it a default")
