"""All settings of a run, flat, for TensorBoard's table of hyperparameters."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

NAMES_OF_THE_FOLDER = ("output_dir", "run_name")
"""The table shows the folder of a run anyway, and no two runs have the same."""


def hparams_of(resolved: Mapping[str, Any]) -> dict[str, str | float]:
    """Every setting by its dotted key; a component is named under the key of its section.

    TensorBoard shows the settings that differ between the loaded runs first, so all can be there.

    Args:
        resolved: the configuration as written to ``config.yaml``.

    >>> hparams_of({"seed": 3, "attack": [], "aggregator": {"name": "cwtm", "pre": [{"name": "nnm"}], "trim": None}})
    {'seed': 3, 'attack': 'none', 'aggregator': 'cwtm', 'aggregator.pre': 'nnm', 'aggregator.trim': 'none'}
    """
    return {
        key: value
        for section, held in resolved.items()
        if section not in NAMES_OF_THE_FOLDER
        for key, value in _flat(section, held)
    }


def _flat(key: str, value: Any) -> Iterator[tuple[str, str | float]]:
    if isinstance(value, Mapping):
        for name, held in value.items():
            yield from _flat(key if name == "name" else f"{key}.{name}", held)
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        yield from _several(key, value)
    else:
        yield key, value if type(value) in (int, float, str) else _words(value)


def _several(key: str, components: Sequence[Any]) -> Iterator[tuple[str, str | float]]:
    """Several components: their values side by side, "-" where one has no such setting.

    >>> dict(_several("attack", [{"name": "fang", "count": 2}, {"name": "alie", "z": 1.5}]))
    {'attack': 'fang + alie', 'attack.count': '2 + -', 'attack.z': '- + 1.5'}
    """
    flat = [dict(_flat(key, component)) for component in components]
    for name in dict.fromkeys(name for settings in flat for name in settings):
        if len(flat) == 1:
            yield name, flat[0][name]
        else:
            yield name, " + ".join(str(settings.get(name, "-")) for settings in flat)


def _words(value: Any) -> str:
    """As YAML has it; TensorBoard shows a bool as 1.0000."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value == []:
        return "none"
    return ", ".join(map(_words, value)) if isinstance(value, list | tuple) else str(value)
