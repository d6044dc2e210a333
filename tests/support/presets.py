"""The configurations that come with fedsim."""

from pathlib import Path

from fedsim.build.components import build_components
from fedsim.config.run import parse_config
from fedsim.config.source import read_yaml
from fedsim.data.images.channel_statistics import ChannelStatistics
from fedsim.data.inputs import View

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))

STORED = {
    "quickstart": (1, 28, 28),
    "cifar10_resnet18": (3, 32, 32),
    "eurosat_deit_small": (3, 64, 64),
    "fed_isic2019_convnext_nano": (3, 200, 200),
    "cifar10_small_resnet8": (3, 16, 16),
    "fed_isic_small_squeezenet": (3, 128, 128),
}
"""Shapes of the images as runs keep them."""


def view_of(preset: str, *, normalized: bool = True) -> View:
    """How a preset shows images."""
    components = build_components(parse_config(read_yaml(CONFIGS / f"{preset}.yaml")), require_data=False)
    channels = STORED[preset][0]
    statistics = ChannelStatistics((0.4,) * channels, (0.2,) * channels, "of a test")
    return components.view(statistics if normalized else None)
