"""The retriever's network: what its copies share, and the text encoder that is trained along."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from transformers import DistilBertConfig, DistilBertModel

from models.configs import PartTMRConfig
from models.text.encoder import TextEncoder
from models.text.published import PublishedTower
from Part_TMR.model import LOWEST_TEMPERATURE, RetrieverModel
from utils.formats import get_format


def trainable_encoder() -> TextEncoder:
    torch.manual_seed(0)
    words = {word: number for number, word in enumerate(["?", "a", "person", "walks", "jumps"])}
    sizes = {"vocab_size": len(words), "max_position_embeddings": 8, "dim": 16, "hidden_dim": 16}
    model = DistilBertModel(DistilBertConfig(n_layers=1, n_heads=2, dropout=0.0, attention_dropout=0.0, **sizes))
    torch.nn.init.normal_(model.embeddings.word_embeddings.weight)
    return TextEncoder(
        "distilbert", PublishedTower(model), lambda texts: [[words[w] for w in t.split()] for t in texts]
    )


@pytest.mark.parametrize("text_layers", [0, 2])
def test_a_trained_text_encoder_belongs_to_the_model(
    small_config: Callable[..., PartTMRConfig], text_layers: int
) -> None:
    encoder = trainable_encoder()
    model = RetrieverModel(
        small_config(text_layers=text_layers), get_format("humanml3d"), encoder.dim, text_encoder=encoder
    )
    assert "text_backbone.model.embeddings.word_embeddings.weight" in model.state_dict()
    texts = ["a person walks", "a person jumps"]
    rows = model.encode_text(texts)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(2))
    rows[0, 0].backward()
    assert encoder.module.model.embeddings.word_embeddings.weight.grad.abs().sum() > 0

    former = copy.deepcopy(model)
    with torch.no_grad():
        model.text_backbone.model.embeddings.word_embeddings.weight.mul_(-1.0)
    torch.testing.assert_close(former.encode_text(texts), rows)
    assert not torch.allclose(model.encode_text(texts), rows)


def test_sentences_need_a_trained_text_encoder(small_config: Callable[..., PartTMRConfig]) -> None:
    with pytest.raises(ValueError, match="trained text encoder"):
        RetrieverModel(small_config(), get_format("humanml3d"), 8).encode_text(["a person walks"])


def test_word_order_reaches_the_embedding(small_config: Callable[..., PartTMRConfig]) -> None:
    model = RetrieverModel(small_config(), get_format("humanml3d"), 16, text_encoder=trainable_encoder()).eval()
    one, other = model.encode_text(["walks jumps", "jumps walks"])
    assert (one - other).norm() > 1e-3


def test_a_learned_temperature_stays_above_its_floor(small_config: Callable[..., PartTMRConfig]) -> None:
    model = RetrieverModel(small_config(learn_temperature=True), get_format("humanml3d"), 8)
    assert model.temperature.item() == pytest.approx(0.07)
    with torch.no_grad():
        model.log_temperature.fill_(-99.0)
    assert model.temperature.item() == pytest.approx(LOWEST_TEMPERATURE)
    assert RetrieverModel(small_config(), get_format("humanml3d"), 8).temperature == 0.07


def test_the_whole_body_is_one_part(small_config: Callable[..., PartTMRConfig]) -> None:
    model = RetrieverModel(small_config(parts="whole"), get_format("humanml3d"), 8)
    encoded = model.encode_motion(torch.randn(2, 8, 263), torch.ones(2, 8, dtype=torch.bool))
    assert encoded.parts.shape == (2, 1, 16)
