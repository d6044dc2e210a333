"""The run that is damaged."""

import pytest

from fuzz.resumed import Runs, runs_of


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return runs_of(tmp_path_factory.mktemp("half_run"))
