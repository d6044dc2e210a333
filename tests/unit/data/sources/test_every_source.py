"""What holds for every source."""

from pathlib import Path

import pytest

from fedsim.data.sources import sources
from fedsim.errors import ConfigError

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("name", ["cifar10", "eurosat", "fed_isic2019", "image_folder"])
def test_a_root_with_an_impossible_name_is_a_config_error(name: str, tmp_path: Path) -> None:
    """Path.is_dir raises for it, as it does for a folder below one that the user may not enter."""
    with pytest.raises(ConfigError, match="root"):
        sources.build(name).check(tmp_path / ("x" * 300))
