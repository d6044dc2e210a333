"""Our attacks against ByzFL's on random rows: equal, or different as stated."""

import byzfl
import numpy as np
import pytest
from scipy.stats import kstest

from support import byzfl_adapter
from support.byzfl_adapter import Array
from support.byzfl_examples import docstrings
from support.references import random_rows

HONEST = [3, 4, 7]
SEEDS = range(4)
EQUAL: dict[str, dict[str, object]] = {
    "ALittleIsEnough": {"tau": 1.5},
    "InnerProductManipulation": {"tau": 0.7},
    "LabelFlipping": {},
    "Mimic": {"epsilon": 2},
    "SignFlipping": {},
}
"""ByzFL's name and its arguments, for the adapter's reading of them."""
DIFFERENT = {
    "Gaussian": "noise is drawn by the generator of the round, not by numpy's or torch's, and its mean is zero",
    "Inf": "`nonfinite` draws NaN, +Inf or -Inf for each coordinate, not +Inf for all",
    "Optimal_ALittleIsEnough": "the factor is searched below the mean, with a first step of 1 instead of 10",
    "Optimal_InnerProductManipulation": "the factor is searched with a first step of 1 instead of 10, on both sides",
}
"""Each has a test below that shows that nothing else differs."""

pytestmark = pytest.mark.slow


def arrays(honest: int, seed: int, columns: int = 50) -> Array:
    """Float64 rows [H, D], which ByzFL leaves as they are; tensors it turns into float32."""
    return random_rows(honest, columns, seed=seed).double().numpy()


# Equal ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("honest", HONEST)
@pytest.mark.parametrize("name", EQUAL)
def test_equal_to_byzfl(name: str, honest: int) -> None:
    ours, theirs = (getattr(module, name)(**EQUAL[name]) for module in (byzfl_adapter, byzfl))
    for seed in SEEDS:
        rows = arrays(honest, seed)
        np.testing.assert_allclose(ours(rows), theirs(rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["ALittleIsEnough", "InnerProductManipulation"])
def test_equal_to_byzfl_for_any_factor(name: str) -> None:
    rows = arrays(6, seed=0)
    for tau in (-2.0, -0.1, 0.0, 1.0, 30.0):
        ours, theirs = (getattr(module, name)(tau) for module in (byzfl_adapter, byzfl))
        np.testing.assert_allclose(ours(rows), theirs(rows), rtol=1e-12, atol=1e-12)


def test_the_sign_flip_of_byzfl_is_also_our_ipm_with_a_factor_of_one() -> None:
    rows = arrays(6, seed=0)
    np.testing.assert_allclose(
        byzfl_adapter.InnerProductManipulation(1.0)(rows), byzfl.SignFlipping()(rows), rtol=1e-12, atol=1e-12
    )


def test_every_class_of_byzfl_is_compared() -> None:
    assert docstrings("attacks/attacks.py").keys() == EQUAL.keys() | DIFFERENT.keys()


# Different by definition, and by nothing else ------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.3, 200.0])
def test_noise_has_the_same_distribution(sigma: float) -> None:
    rows = arrays(2, seed=0, columns=50_000)
    noise = byzfl_adapter.Gaussian(sigma=sigma)(rows)
    for sample in (noise, byzfl.Gaussian(sigma=sigma)(rows)):
        assert kstest(np.asarray(sample) / sigma, "norm").statistic < 0.015  # chance: 1e-9


def test_noise_with_another_mean_is_not_ours() -> None:
    with pytest.raises(ValueError, match="zero"):
        byzfl_adapter.Gaussian(mu=1.0)


def test_where_byzfl_sends_infinity_ours_sends_nan_and_both_infinities_equally_often() -> None:
    rows = arrays(2, seed=0, columns=30_000)
    assert np.isposinf(byzfl.Inf()(rows)).all()
    sent = np.asarray(byzfl_adapter.Inf()(rows))
    for kind in (np.isposinf, np.isneginf, np.isnan):
        assert kind(sent).mean() == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("f", [1, 2])
@pytest.mark.parametrize("name", ["Optimal_ALittleIsEnough", "Optimal_InnerProductManipulation"])
def test_a_searched_factor_makes_the_row_of_that_factor_and_the_deviation_that_byzfl_measures(
    name: str, f: int
) -> None:
    """What is maximised, and over which rows, is the same; only the search differs."""
    parent = getattr(byzfl, name.removeprefix("Optimal_"))
    for seed in SEEDS:
        rows = arrays(5, seed)
        ours, theirs = (
            getattr(module, name)(module.TrMean(f), [module.NNM(f), module.Clipping(5.0)], f)
            for module in (byzfl_adapter, byzfl)
        )
        sent, found = ours(rows), ours.method.diagnostics
        tau = -found["z"] if "z" in found else found["epsilon"]
        np.testing.assert_allclose(sent, parent(tau)(rows), rtol=1e-9, atol=1e-9)
        deviation = theirs._evaluate(rows, rows.mean(axis=0), tau)
        assert found["deviation"] == pytest.approx(deviation, rel=1e-6)
        assert not np.allclose(sent, theirs(rows))
