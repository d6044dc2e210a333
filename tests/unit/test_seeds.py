"""Seeds derived from a purpose."""

from itertools import islice

from fedsim.seeds import derive_seed


def test_the_first_draws_are_the_same_for_the_same_purpose_only() -> None:
    first = [derive_seed(0, purpose, *ids) for purpose in ("a", "b") for ids in ((), (0,), (1,), (0, 1), (1, 0))]
    assert len(set(first)) == len(first)
    assert list(islice(first, 1)) == [derive_seed(0, "a")]
