"""The models of token ids: what they read, what they see, and the layers that others write out."""

import pytest
import torch
from torch import nn

from fedsim.errors import ConfigError
from fedsim.models import Task, models
from fedsim.models.transformer import Block, Transformer
from support.texts import tiny

LENGTH, TOKENS, CLASSES = 6, 7, 7
MODELS = ["lstm", "transformer"]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_logits_for_each_position_or_for_the_sequence(name: str) -> None:
    tokens = torch.arange(2 * LENGTH).view(2, LENGTH) % TOKENS
    assert tiny(name, LENGTH, CLASSES)(tokens).shape == (2, LENGTH, CLASSES)
    assert tiny(name, LENGTH, CLASSES, per_token=False)(tokens).shape == (2, CLASSES)


@pytest.mark.parametrize("name", MODELS)
def test_a_position_sees_itself_and_those_before_it_and_never_what_it_is_to_predict(name: str) -> None:
    model, tokens = tiny(name, LENGTH, CLASSES), torch.zeros(1, LENGTH, dtype=torch.int64)
    before = model(tokens)[0]
    for changed in range(LENGTH):
        other = tokens.clone()
        other[0, changed] = 1
        differs = (model(other)[0] != before).any(dim=1)
        assert differs.tolist() == [position >= changed for position in range(LENGTH)]


@pytest.mark.parametrize("name", MODELS)
def test_the_class_of_a_sequence_depends_on_all_of_it(name: str) -> None:
    model, tokens = tiny(name, LENGTH, CLASSES, per_token=False), torch.zeros(1, LENGTH, dtype=torch.int64)
    others = tokens + torch.eye(LENGTH, dtype=torch.int64)
    assert (model(others) != model(tokens)).any(dim=1).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "task", [Task(input_shape=(3, 32, 32), num_classes=5), Task(input_shape=(9,), num_classes=5)]
)
def test_numbers_are_refused_in_one_sentence(name: str, task: Task) -> None:
    with pytest.raises(ConfigError, match=f"name: {name} reads sequences of token ids, and the inputs are numbers"):
        models.build(name).build_for(task)


def test_the_lstm_of_the_papers_has_an_embedding_of_8_and_two_layers_of_256() -> None:
    model = models.build("lstm").build_for(Task(input_shape=(80,), num_classes=80, vocabulary=80))
    cells = [4 * 256 * (inputs + 256 + 2) for inputs in (8, 256)]  # four gates; torch has two biases
    size = sum(parameter.numel() for parameter in model.parameters())
    assert size == 80 * 8 + sum(cells) + 80 * (256 + 1) == 819_920


@pytest.mark.parametrize("causal", [True, False])
def test_a_block_is_torchs_own_with_the_same_parameters(causal: bool) -> None:
    torch.manual_seed(0)
    block = Block(Transformer.Settings(width=8, heads=2), causal=causal)
    theirs = nn.TransformerEncoderLayer(8, 2, 32, 0.0, nn.functional.gelu, batch_first=True, norm_first=True)
    ours = dict(block.named_parameters())
    names = {
        "self_attn.in_proj_weight": "attention.1.to_heads.weight",
        "self_attn.in_proj_bias": "attention.1.to_heads.bias",
        "self_attn.out_proj.weight": "attention.1.from_heads.weight",
        "self_attn.out_proj.bias": "attention.1.from_heads.bias",
        **{f"norm1.{kind}": f"attention.0.{kind}" for kind in ("weight", "bias")},
        **{f"norm2.{kind}": f"hidden.0.{kind}" for kind in ("weight", "bias")},
        **{f"linear1.{kind}": f"hidden.1.{kind}" for kind in ("weight", "bias")},
        **{f"linear2.{kind}": f"hidden.3.{kind}" for kind in ("weight", "bias")},
    }
    assert sorted(names.values()) == sorted(ours)
    theirs.load_state_dict({theirs_name: ours[name] for theirs_name, name in names.items()})
    vectors = torch.randn(3, LENGTH, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(LENGTH) if causal else None
    assert torch.allclose(block(vectors), theirs(vectors, mask), atol=1e-5)


def test_a_width_that_the_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match="width: 10 is no multiple of the 4 heads"):
        models.build("transformer", width=10).check()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_trained_in_bfloat16_on_any_cpu(name: str) -> None:
    model, tokens = tiny(name, LENGTH, CLASSES), torch.arange(2 * LENGTH).view(2, LENGTH) % TOKENS
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(tokens)
    assert logits.dtype == torch.bfloat16
    logits.float().sum().backward()
    assert torch.allclose(logits.float(), model(tokens), atol=0.03)
