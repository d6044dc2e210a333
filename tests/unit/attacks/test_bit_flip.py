"""A flipped bit in each value."""

import math
import struct

import pytest
import torch

from fedsim.attacks import build_attack
from support.attack_views import round_view
from support.references import random_rows


def flipped_bits(value: float) -> int:
    """The float32 with bit 30 inverted, as its 32 bits."""
    return struct.unpack("<I", struct.pack("<f", value))[0] ^ 0x40000000


SINGLE = [
    0.0,
    -0.0,
    0.5,
    -0.5,
    1.0,
    -1.0,
    1.5,
    -1.99,
    2.0,
    -2.0,
    3.7,
    1e-3,
    -1e-20,
    1e-45,
    3.4e38,
    math.inf,
    -math.inf,
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bit_flip_inverts_bit_30_of_single_floats(dtype: torch.dtype) -> None:
    own = torch.tensor([SINGLE, SINGLE[::-1]], dtype=dtype)
    sent = build_attack("bit_flip")(round_view(random_rows(2, len(SINGLE)).to(dtype), own))
    assert sent.dtype == dtype
    for row, values in zip(sent, (SINGLE, SINGLE[::-1]), strict=True):
        for got, value in zip(row.tolist(), values, strict=True):
            (expected,) = struct.unpack("<f", struct.pack("<I", flipped_bits(value)))
            assert math.isnan(got) if math.isnan(expected) else struct.pack("<d", got) == struct.pack("<d", expected)


@pytest.mark.parametrize(
    ("value", "sent"), [(0.25, 2.0**126), (-0.5, -(2.0**127)), (0.0, 2.0), (1.0, math.inf), (2.0**100, 2.0**-28)]
)
def test_bit_flip_does_what_its_description_says(value: float, sent: float) -> None:
    row = build_attack("bit_flip")(round_view(torch.ones(1, 1), torch.tensor([[value]])))
    assert row.item() == sent


def test_bit_flip_makes_magnitudes_from_one_to_two_infinite_or_no_number_and_no_others() -> None:
    own = random_rows(2, 5000)
    sent = build_attack("bit_flip")(round_view(random_rows(2, 5000), own))
    assert torch.equal(~sent.isfinite(), (own.abs() >= 1) & (own.abs() < 2))
