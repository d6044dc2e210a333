"""The number of Byzantine clients that an aggregator is to tolerate."""

import pytest

from fedsim.aggregators import build_aggregator
from fedsim.errors import ConfigError
from support.references import random_rows


@pytest.mark.parametrize("value", [-1, 1.5, "many", True])
@pytest.mark.parametrize("name", ["krum", "cwtm"])
def test_an_impossible_number_of_byzantine_clients_is_rejected(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match="num_byzantine"):
        build_aggregator(name, num_byzantine=value)


@pytest.mark.parametrize("name", ["krum", "cwtm"])
def test_the_oracle_is_not_available_outside_a_run(name: str) -> None:
    with pytest.raises(ConfigError, match="oracle"):
        build_aggregator(name, num_byzantine="oracle")(random_rows(5, 3))
