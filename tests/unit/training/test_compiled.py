"""Whole batches are compiled, others are computed as they are."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from fedsim.training.compiled import CompiledForward
from support.local_work import Plain, Trained, rules, smooth, work


@pytest.mark.parametrize("sizes", [{5}, {3, 2}])
def test_what_computes_a_batch_depends_on_its_size_alone(sizes: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()

    def compile_nothing(model: nn.Module, **options: Any) -> Any:
        def forward(inputs: torch.Tensor) -> torch.Tensor:
            seen[f"compiled {len(inputs)}"] += 1
            return model(inputs)

        return forward

    monkeypatch.setattr(torch, "compile", compile_nothing)
    model = smooth()
    model.register_forward_hook(lambda module, args, out: seen.update([f"model {len(args[0])}"]))
    forward = CompiledForward(model, sizes)
    for count in (4, 5, 3, 2, 5, 1):
        assert forward(torch.ones(count, 6)).shape == (count, 4)
    assert {name for name in seen if name.startswith("compiled")} == {f"compiled {size}" for size in sizes}
    assert sum(number for name, number in seen.items() if name.startswith("model")) == 6


@pytest.mark.timeout(300)
def test_batches_that_are_smaller_do_not_make_torch_compile_again() -> None:
    torch._dynamo.reset()
    counters.clear()
    given = work(compiled="default")  # 13 samples in batches of 5, 5 and 3, twice
    compiled, plain = Trained(smooth, given), Plain(smooth, given)
    assert counters["stats"]["unique_graphs"] == 1
    assert torch.allclose(compiled.after, plain.after, atol=1e-6)


@pytest.mark.timeout(300)
def test_pieces_of_whole_batches_are_compiled() -> None:
    torch._dynamo.reset()
    counters.clear()
    given = work(compiled="default", rules=rules(micro_batches=2), batch_size=6)  # pieces of 3, and a last sample
    Trained(smooth, given)
    assert counters["stats"]["unique_graphs"] == 1
