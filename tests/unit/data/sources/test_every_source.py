"""What holds for every source."""

from pathlib import Path

import pytest

from fedsim.data.sources import sources
from fedsim.errors import ConfigError

pytestmark = pytest.mark.usefixtures("cache")


FROM_FILES = [name for name in sources.describe() if sources.get(name).reads_root]


@pytest.mark.parametrize("name", FROM_FILES)
def test_a_root_with_an_impossible_name_is_a_config_error(name: str, tmp_path: Path) -> None:
    """Path.is_dir raises for it, as it does for a folder below one that the user may not enter."""
    with pytest.raises(ConfigError, match="root"):
        sources.build(name).check(tmp_path / ("x" * 300))


@pytest.mark.parametrize("name", FROM_FILES)
def test_a_root_that_is_missing_or_of_the_wrong_kind_is_a_config_error(name: str, tmp_path: Path) -> None:
    source = sources.build(name)
    file = tmp_path / "some.text"
    file.write_text("no data")
    for root in (None, tmp_path / "nothing", file):
        call = source.load if root == file and source.accepts_file else source.check
        with pytest.raises(ConfigError, match="root") as caught:
            call(root)
        assert caught.value.remedy
