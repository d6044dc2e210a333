"""Synthetic(alpha, beta) against its definition, by the statistics of many devices and samples."""

from typing import Any

import numpy as np
import pytest
import torch

from fedsim.data.sources import sources
from fedsim.data.sources.synthetic_alpha_beta import SyntheticAlphaBeta
from fedsim.models import models


def build(**settings: Any) -> Any:
    return sources.build("synthetic_alpha_beta", **settings)


def drawn_models(source: SyntheticAlphaBeta, devices: int, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """What torch.randn gives for each device, in order."""
    calls: list[Any] = []
    real = torch.randn

    def recorded(*shape: int, **keywords: Any) -> Any:
        calls.append(real(*shape, **keywords))
        return calls[-1]

    found = []
    for device in range(devices):
        calls.clear()
        monkeypatch.setattr(torch, "randn", recorded)
        source._device(device, 5)
        monkeypatch.setattr(torch, "randn", real)
        found.append(list(calls))
    return found


def test_inputs_have_the_means_and_variances_of_the_definition() -> None:
    splits = build(alpha=0.5, beta=2.0, devices=400, samples=200, dimension=20, classes=3).load(None)
    inputs, devices = splits.train.samples.inputs.double(), 400
    assert inputs.shape == (devices * 200, 20)
    groups = inputs.view(devices, 200, 20)
    within = groups.var(1).mean(0)  # of x around v_k
    assert torch.allclose(within, torch.arange(1, 21, dtype=torch.float64) ** -1.2, rtol=0.03)
    centres = groups.mean(1)  # v_k, whose entries are N(B_k, 1)
    assert float(centres.var(1).mean()) == pytest.approx(1, rel=0.05)
    assert float(centres.mean(1).std()) == pytest.approx((2.0**2 + 1 / 20) ** 0.5, rel=0.12)  # B_k is N(0, beta)
    correlated = np.corrcoef((groups - groups.mean(1, keepdim=True)).reshape(-1, 20).T.numpy())
    assert np.abs(correlated - np.eye(20)).max() < 0.03  # Sigma is diagonal


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_weights_spread_around_a_mean_of_each_device(alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels follow from W_k and b_k as the definition makes them of the standard normal draws."""
    source = build(alpha=alpha, beta=1.5, dimension=6, classes=3)
    for device, (mean, weight, bias, centre_mean, centre, noise) in enumerate(drawn_models(source, 4, monkeypatch)):
        u = alpha * float(mean)
        v = 1.5 * float(centre_mean) + centre.numpy()
        x = v + noise.numpy() * np.sqrt(np.arange(1, 7) ** -1.2)
        logits = x @ (u + weight.numpy()) + (u + bias.numpy())
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        inputs, labels = source._device(device, 5)
        assert np.allclose(inputs.numpy(), x)
        assert labels.tolist() == probabilities.argmax(1).tolist()


def test_the_iid_variant_has_one_model_and_one_distribution() -> None:
    source = build(iid=True, devices=50, samples=400, dimension=10, classes=3)
    splits = source.load(None)
    groups = splits.train.samples.inputs.view(50, 400, 10)
    spread = (torch.arange(1, 11, dtype=torch.float64) ** -1.2 / 400).sqrt()
    assert (groups.double().mean(1).abs() < 5 * spread).all()
    weight, bias = source._shared_model()
    logits = splits.train.samples.inputs.double() @ weight + bias
    top = logits.topk(2, 1).values
    sure = top[:, 0] - top[:, 1] > 1e-4  # inputs are kept in float32
    assert sure.float().mean() > 0.99
    assert torch.equal(logits.argmax(1)[sure], splits.train.samples.labels[sure])


def test_sizes_are_those_of_the_authors_and_every_device_has_tests() -> None:
    source = build(devices=5000, dimension=1, classes=2)
    sizes = source._sizes()
    logs = (sizes - 50).clamp(min=1).double().log()
    assert int(sizes.min()) >= 50
    assert float(logs.median()) == pytest.approx(4, abs=0.15)
    assert float(np.percentile(logs, 84.13) - np.percentile(logs, 50)) == pytest.approx(2, abs=0.15)
    splits = build(devices=7, dimension=3).load(None)
    for size, client in zip(build(devices=7, dimension=3)._sizes().tolist(), range(7), strict=True):
        train = list(splits.train.columns["client"]).count(str(client))
        test = list(splits.test.columns["client"]).count(str(client))
        assert (train, test) == (int(0.9 * size), size - int(0.9 * size))


def test_devices_do_not_depend_on_how_many_there_are_but_on_the_seed() -> None:
    few, many, other = (build(devices=n, samples=10, data_seed=s).load(None) for n, s in ((2, 0), (5, 0), (2, 1)))
    assert torch.equal(few.train.samples.inputs, many.train.samples.inputs[:20])
    assert not torch.equal(few.train.samples.inputs, other.train.samples.inputs)


def test_the_papers_model_is_an_mlp_without_hidden_layers() -> None:
    model = models.build("mlp", hidden=[]).build((60,), 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 610
    inputs = torch.randn(3, 60)
    weight, bias = list(model.parameters())
    assert torch.allclose(model(inputs), inputs @ weight.T + bias, atol=1e-5)
