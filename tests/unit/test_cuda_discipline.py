"""What a GPU would refuse or wait for, found without one: every method on a pretended GPU."""

from collections.abc import Callable

import pytest

from fedsim.aggregators.base import aggregators
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks.base import attacks
from support.cuda_counts import BLOCK, BLOCKS, Counts, counts_of_attack, counts_of_defence

MOST_WAITS = 40
"""Of any method that does not try out others."""
MOST_LAUNCHES = 2000
"""Of any method, with 22 million columns, for each aggregator that it asks."""
FEW, MANY = 2, 5
"""Blocks that are counted."""
ROUNDING = 2
"""Waits that rounding may decide on: whether mixed rows that nearly coincide are looked at once more."""

pytestmark = pytest.mark.filterwarnings("ignore")


def assert_within_limits(count: Callable[[int], Counts], waits_of_a_try: int = 0, members: int = 1) -> None:
    """Waits do not depend on the length of the rows; launches are extrapolated to 22 million columns."""
    few, many = count(FEW * BLOCK), count(MANY * BLOCK)
    assert many.waits <= few.waits + ROUNDING, many.places
    assert many.waits <= members * MOST_WAITS + waits_of_a_try * many.tries, many.places
    launches = many.launches + (BLOCKS - MANY) * (many.launches - few.launches) / (MANY - FEW)
    assert launches <= MOST_LAUNCHES * max(members, many.tries)


@pytest.mark.parametrize("name", sorted(aggregators.describe()))
def test_an_aggregator_stays_on_one_device_and_waits_no_more_for_longer_rows(name: str) -> None:
    assert_within_limits(lambda columns: counts_of_defence(Defence(aggregators.build(name)), columns))


@pytest.mark.parametrize("pre", sorted(pre_aggregators.describe()))
@pytest.mark.parametrize("name", ["krum", "cwtm", "fedseca"])
def test_a_pre_aggregator_stays_on_one_device_and_waits_no_more_for_longer_rows(pre: str, name: str) -> None:
    def count(columns: int) -> Counts:
        return counts_of_defence(Defence(aggregators.build(name), [pre_aggregators.build(pre)]), columns)

    assert_within_limits(count, members=2)


@pytest.mark.parametrize("name", sorted(attacks.describe()))
def test_an_attack_stays_on_one_device_and_waits_no_more_for_longer_rows(name: str) -> None:
    # A search must have the answer to each try before it asks again: it waits for the defence, and for its step.
    assert_within_limits(lambda columns: counts_of_attack(attacks.build(name), columns), waits_of_a_try=2)
