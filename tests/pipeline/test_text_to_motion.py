"""The shipped models through the public Python surface."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.configs import MaskedTransformerConfig, ResidualTransformerConfig, SamplingSettings
from models.precision import check_precision
from models.transformer.condition import ConditionDims
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from pipeline import Motion, TextToMotion
from pipeline.loader import token_config
from storage.checkpoint import save_checkpoint
from storage.files import read_json, write_json
from utils.errors import UserError
from utils.run import TokenShape

PRETRAINED = Path(__file__).parents[2] / "pretrained"
PROMPTS = ["a person waves", "a man walks forward quickly", "someone is sitting down"]


@pytest.fixture(scope="module")
def t2m() -> TextToMotion:
    return TextToMotion.load(
        checkpoints_dir=PRETRAINED, dataset_name="open", mtrans_name="mtrans", rtrans_name="rtrans"
    )


@pytest.fixture(scope="module")
def together(t2m: TextToMotion) -> list[Motion]:
    return t2m.generate(PROMPTS, lengths=[60, 120, 80], seed=3)


def test_shapes_units_and_order(t2m: TextToMotion, together: list[Motion]) -> None:
    assert [motion.text for motion in together] == PROMPTS
    for motion, frames in zip(together, (60, 120, 80), strict=True):
        assert motion.features.shape == (frames, 263) and motion.features.dtype == np.float32
        assert motion.joints.shape == (frames, 22, 3) and motion.joints.dtype == np.float32
        assert motion.fps == 20 and np.isfinite(motion.joints).all()
        assert 0.6 < motion.joints[0, 0, 1] < 1.1, "the pelvis is not at the height of a standing body, in metres"
        scores = [score for _, _, score in motion.retrieved]
        assert len(scores) == t2m.masked.config.n_retrieved and scores == sorted(scores, reverse=True)


def test_a_prompt_with_a_seed_is_the_same_alone_and_in_any_batch(t2m: TextToMotion, together: list[Motion]) -> None:
    for motion, frames in zip(together, (60, 120, 80), strict=True):
        alone = t2m.generate([motion.text], lengths=frames, seed=3)[0]
        np.testing.assert_allclose(alone.features, motion.features, atol=1e-4)
    again = t2m.generate(PROMPTS[::-1] * 2, lengths=[80, 120, 60] * 2, seed=3, batch_size=2)
    for motion, other in zip(again, together[::-1] * 2, strict=True):
        np.testing.assert_allclose(motion.features, other.features, atol=1e-4)
    assert not np.allclose(t2m.generate(PROMPTS[:1], lengths=60, seed=4)[0].features, together[0].features)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_motions_in_fewer_bits(precision: str, t2m: TextToMotion, together: list[Motion]) -> None:
    try:
        check_precision(precision, torch.device("cpu"))
    except UserError:
        pytest.skip(f"this processor has no {precision}")
    lower = TextToMotion.load(checkpoints_dir=PRETRAINED, precision=precision)
    settings = SamplingSettings(time_steps=2, temperature=0, copy_scale=0)
    base = [each.generate(PROMPTS, 60, sampling=settings) for each in (t2m, lower)]
    pairs = list(zip(*base, strict=True))
    assert not all(np.array_equal(motion.features, other.features) for motion, other in pairs)
    for motion, other in pairs:  # about the root: a little less at each step is far in the end
        about = [each.joints - each.joints[:, :1] for each in (motion, other)]
        assert np.abs(about[0] - about[1]).mean() < 0.1, "another motion"
    assert np.array_equal(lower.generate(PROMPTS, 60, sampling=settings)[0].features, base[1][0].features)
    assert lower.fingerprint != t2m.fingerprint


def test_skipped_prompts_change_no_bit_of_the_others(t2m: TextToMotion) -> None:
    """Repeated captions too, whose features would be remembered from an earlier batch."""
    texts, settings = [PROMPTS[number % 3] for number in range(10)], SamplingSettings(time_steps=2)
    how = {"sampling": settings, "seed": range(10), "batch_size": 2, "sorted_at_once": 6}
    everything = dict(t2m.generate_each(texts, **how))
    assert sorted(everything) == list(range(10)) and list(everything)[:2] in ([0, 1], [1, 0]), "the first come later"
    for skip in ({0, 1, 2, 3, 4, 5, 6}, {1, 7, 9}, set(range(10))):
        rest = dict(t2m.generate_each(texts, **how, skip=skip))
        assert set(rest) == set(everything) - skip
        assert all(np.array_equal(rest[number].features, everything[number].features) for number in rest)
    with pytest.raises(UserError, match="out of range"):
        t2m.generate_each(texts, lengths=[None] * 9 + [5000])


def test_models_and_library_have_a_fingerprint(t2m: TextToMotion) -> None:
    assert TextToMotion.load().fingerprint == t2m.fingerprint
    assert TextToMotion.load(rtrans_name=None).fingerprint != t2m.fingerprint
    other = TextToMotion.load()
    next(other.masked.parameters()).data.view(-1)[0] += 1e-6
    assert other.fingerprint != t2m.fingerprint


def test_numbers_of_numpy_are_numbers(t2m: TextToMotion, together: list[Motion]) -> None:
    again = t2m.generate(PROMPTS, lengths=np.array([60, 120, 80]), seed=np.array([3, 3, 3]))
    for motion, expected in zip(again, together, strict=True):
        assert np.array_equal(motion.features, expected.features) and type(motion.seed) is int
    one = t2m.generate(PROMPTS[:1], lengths=np.int64(60), seed=np.int64(3))[0]
    np.testing.assert_allclose(one.features, together[0].features, atol=1e-4)


def test_save_and_load_give_identical_motions(together: list[Motion]) -> None:
    other = TextToMotion.load(checkpoints_dir=str(PRETRAINED))
    again = other.generate(PROMPTS, lengths=[60, 120, 80], seed=3)
    for motion, expected in zip(again, together, strict=True):
        assert np.array_equal(motion.features, expected.features)


def test_estimated_lengths_follow_the_seed_and_stay_in_range(t2m: TextToMotion) -> None:
    first, second = (t2m.generate(PROMPTS, seed=[1, 2, 3]) for _ in range(2))
    assert [len(motion.features) for motion in first] == [len(motion.features) for motion in second]
    assert all(40 <= len(motion.features) <= 120 and len(motion.features) % 4 == 0 for motion in first)
    modes = [len(t2m.generate(PROMPTS[:1], seed=seed, deterministic_length=True)[0].features) for seed in (0, 9)]
    assert modes[0] == modes[1]


def test_retrieval_off_and_other_retrieval_change_the_motion(t2m: TextToMotion, together: list[Motion]) -> None:
    without = t2m.generate(PROMPTS, lengths=[60, 120, 80], seed=3, retrieval=False)
    assert all(motion.retrieved == () for motion in without)
    other = t2m.generate(PROMPTS, lengths=[60, 120, 80], seed=3, retrieved=torch.tensor([[0]] * 3))
    for motions in (without, other):
        assert any(not np.allclose(a.features, b.features) for a, b in zip(motions, together, strict=True))


def test_sampling_settings_are_used(t2m: TextToMotion) -> None:
    greedy = SamplingSettings(time_steps=4, temperature=0.0)
    first, second = (t2m.generate(PROMPTS[:1], lengths=60, seed=seed, sampling=greedy)[0] for seed in (0, 1))
    assert np.array_equal(first.features, second.features)


@pytest.mark.parametrize(
    "texts, lengths, words",
    [
        ([" \n"], None, "empty"),
        ([""], None, "empty"),
        (["a person waves"], 20, "32 to 196 frames"),
        (["a person waves"], 400, "out of range"),
        (["a person waves"], [60, 80], "2 lengths for 1 prompts"),
    ],
)
def test_bad_requests(t2m: TextToMotion, texts: list[str], lengths: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        t2m.generate(texts, lengths=lengths)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A copy of the shipped runs that a test may damage."""
    shutil.copytree(PRETRAINED / "open", tmp_path / "runs" / "open")
    return tmp_path / "runs"


def change(config: Path, section: str | None, key: str, value: object = None) -> None:
    """Sets an entry of a config, or takes it away."""
    content = read_json(config)
    owner = content if section is None else content[section]
    owner.pop(key)
    if value is not None:
        owner[key] = value
    write_json(config, content)


@pytest.mark.parametrize(
    "run, section, key, value, message",
    [
        ("mtrans", None, "inputs", None, "mtrans/config.json: inputs"),
        ("mtrans", None, "dims", None, "mtrans/config.json: dims"),
        ("mtrans", "retrieval", "retriever_name", None, "mtrans/config.json: retrieval lacks the keys: retriever_name"),
        (
            "length",
            None,
            "text_dim",
            None,
            "length/config.json: text_dim must be a whole number from 1 to 8192, not None",
        ),
        ("rtrans", "model", "text_encoder", "clip", "different text encoders: mtrans with minilm, rtrans with clip"),
        ("length", "model", "text_encoder", "clip", "different text encoders: .*length with clip"),
    ],
)
def test_runs_that_do_not_fit_are_refused(
    run: str, section: str | None, key: str, value: object, message: str, runs: Path
) -> None:
    change(runs / "open" / run / "config.json", section, key, value)
    with pytest.raises(UserError, match=message):
        TextToMotion.load(checkpoints_dir=runs)


def test_another_retriever_than_that_of_the_training_is_refused(runs: Path, t2m: TextToMotion) -> None:
    shape = ConditionDims(384), TokenShape(8, 6, 2, "0123")
    recorded = token_config(*shape, t2m.database)["library"]
    assert recorded == {"retriever_hash": t2m.retriever.hash, "motions": 488, "captions": 1664}
    assert "library" not in token_config(*shape)
    path = runs / "open" / "rtrans" / "config.json"
    for name, accepted in ((t2m.retriever.hash, True), ("0" * 16, False)):
        write_json(path, read_json(path) | {"library": recorded | {"retriever_hash": name}})
        if accepted:
            TextToMotion.load(checkpoints_dir=runs)
        else:
            with pytest.raises(UserError, match=f"rtrans was trained with the retriever {name}, but .*open/tmr holds"):
                TextToMotion.load(checkpoints_dir=runs)


def test_a_checkpoint_of_something_else_is_refused(runs: Path) -> None:
    weights = next((runs / "open" / "vq" / "model").iterdir())
    weights.unlink()
    torch.save({"weight": torch.zeros(2)}, weights.with_suffix(".tar"))
    with pytest.raises(UserError, match="net_best_fid.tar holds no model"):
        TextToMotion.load(checkpoints_dir=runs)


def add_untrained(runs: Path, name: str, source: str, **changes: object) -> None:
    """A run like `source`, with random weights and a changed model."""
    config = read_json(runs / "open" / source / "config.json")
    config["model"] |= changes
    dims, tokens = ConditionDims(**config["dims"]), TokenShape(**config["tokens"])
    schema, kind = {
        "mtrans": (MaskedTransformerConfig, MaskedTransformer),
        "rtrans": (ResidualTransformerConfig, ResidualTransformer),
    }[source]
    model = kind(schema(**config["model"]), dims, tokens)
    write_json(runs / "open" / name / "config.json", config)
    save_checkpoint(runs / "open" / name / "model" / "latest.tar", {"model": model.state_dict()})


def test_each_transformer_reads_as_many_retrieved_motions_as_it_was_trained_with(
    runs: Path, together: list[Motion]
) -> None:
    add_untrained(runs, "three", "rtrans", n_retrieved=3)
    t2m = TextToMotion.load(checkpoints_dir=runs, rtrans_name="three")
    assert t2m.n_retrieved == 3
    motion = t2m.generate(PROMPTS[:1], lengths=60, seed=3)[0]
    assert len(motion.retrieved) == 3 and motion.retrieved[0][0] == together[0].retrieved[0][0]

    add_untrained(runs, "plain", "mtrans", retrieved="none")
    t2m = TextToMotion.load(checkpoints_dir=runs, mtrans_name="plain")
    assert t2m.generate(PROMPTS[:1], lengths=60)[0].retrieved[0][0] == together[0].retrieved[0][0]
    alone = TextToMotion.load(checkpoints_dir=runs, mtrans_name="plain", rtrans_name=None)
    assert alone.database is None and alone.generate(PROMPTS[:1], lengths=60)[0].retrieved == ()


def test_a_library_is_found_in_the_folder_of_all_libraries(runs: Path, together: list[Motion]) -> None:
    (runs / "open" / "database").rename(runs / "database")
    (runs / "all").mkdir()
    (runs / "database").rename(runs / "all" / "open")
    with pytest.raises(UserError, match="there is no RAG database of open"):
        TextToMotion.load(checkpoints_dir=runs)
    for folder in (runs / "all", runs / "all" / "open"):
        t2m = TextToMotion.load(checkpoints_dir=runs, database=folder)
        again = t2m.generate(PROMPTS[:1], lengths=[60], seed=3)[0]
        np.testing.assert_allclose(again.features, together[0].features, atol=1e-4)


def test_unknown_runs_are_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match="mtrans"):
        TextToMotion.load(checkpoints_dir=PRETRAINED, mtrans_name="no_such_run")
