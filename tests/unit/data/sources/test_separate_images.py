"""What the sources have in common whose images come one in a file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedsim.data.sources import sources
from fedsim.data.sources.separate_images import SeparateImages
from fedsim.errors import ConfigError
from support.data_sets import small_sets_may_warn, write_class_folders, write_eurosat, write_flamby_isic
from support.published_images import write_cinic10, write_tiny_imagenet

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]

WRITERS: dict[str, Callable[[Path], Path]] = {
    "image_folder": write_class_folders,
    "eurosat": write_eurosat,
    "fed_isic2019": write_flamby_isic,
    "cinic10": write_cinic10,
    "tiny_imagenet": write_tiny_imagenet,
}


def test_every_such_source_is_tested_here() -> None:
    assert set(WRITERS) == {kind.name for kind in sources.classes() if issubclass(kind, SeparateImages)}


@pytest.mark.parametrize("name", WRITERS)
def test_check_and_run_name_an_image_that_is_none_before_anything_is_decoded(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    source = sources.build(name)
    assert isinstance(source, SeparateImages)
    image = source.find(tmp_path).files[0]
    image.write_bytes(b"<html>404 Not Found</html>")
    for look in (source.survey, source.load):
        with pytest.raises(ConfigError, match=f"cannot read the image {image}"):
            look(tmp_path)
