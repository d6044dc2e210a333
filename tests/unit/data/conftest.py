"""Fixtures of the tests of data."""

from pathlib import Path

import pytest

from support.data_sets import write_class_folders


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images for each of two classes."""
    return write_class_folders(tmp_path / "images", per_class=4)
