"""Our evaluator's training: it separates pairs and sides on synthetic data, through the task and the command line."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from data.clips import Caption, Clip
from data.collate import collate_motions
from data.datasets import MotionTextDataset
from engine.evaluator_task import EvaluatorTask, with_mirrored
from engine.harness import Harness
from engine.retriever_task import CaptionTexts
from engine.settings import TrainSettings
from engine.validation import validate
from models.configs import EvaluatorConfig
from models.evaluator.own import EvaluatorNetwork
from models.text_encoder import TextFeatures
from utils.errors import run_script
from utils.formats import get_format

SETTINGS = TrainSettings(
    batch_size=8, max_epoch=40, lr=2e-3, warm_up_iter=5, schedule="constant", eval_every_e=40, save_every=1000
)
SIDES = {"left": 20, "right": 21}  # wrists
ACTIONS = ("waves", "throws", "points", "swings")


class WordStore:
    """Token states of captions: every word has a random vector."""

    def __init__(self, captions: list[str]) -> None:
        words = sorted({word for caption in captions for word in caption.split()})
        vectors = torch.randn(len(words), 12, generator=torch.Generator().manual_seed(0))
        self.captions, self.vectors = captions, dict(zip(words, vectors, strict=True))

    def rows(self, indices: torch.Tensor) -> TextFeatures:
        states = torch.stack(
            [torch.stack([self.vectors[w] for w in self.captions[i].split()]) for i in indices.tolist()]
        )
        return TextFeatures(states.mean(dim=1), states, torch.ones(states.shape[:2], dtype=torch.bool))


def sided_clips(n_clips: int, seed: int) -> list[Clip]:
    """One wrist moves up and down; the action is how fast."""
    generator = np.random.default_rng(seed)
    clips = []
    for number in range(n_clips):
        side, action = ("left", "right")[number % 2], number // 2 % len(ACTIONS)
        features = 0.1 * generator.normal(size=(16 + 4 * int(generator.integers(3)), 263)).astype(np.float32)
        height = get_format("humanml3d").joint_columns(SIDES[side])[1]
        features[:, height] += np.sin(np.arange(len(features)) * 0.4 * (action + 1)) + 1
        caption = Caption(f"someone {ACTIONS[action]} the {side} hand")
        clips.append(Clip(f"{seed}{number:04d}", f"{seed}{number:04d}", features, (caption,)))
    return clips


def make_task() -> tuple[EvaluatorTask, MotionTextDataset, MotionTextDataset]:
    torch.manual_seed(0)
    train = MotionTextDataset(sided_clips(32, 1), random_crop=False)
    val = MotionTextDataset(sided_clips(16, 2), random_crop=False)
    config = EvaluatorConfig(latent_dim=32, n_heads=2, text_layers=1, motion_layers=1, embed_dim=16, dropout=0.0)
    captions = with_mirrored(train.captions)
    texts = CaptionTexts(captions, np.arange(len(captions)), WordStore(captions))
    val_texts = CaptionTexts(val.captions, np.arange(len(val)), WordStore(captions + val.captions))
    val_texts.store.captions = val.captions
    return EvaluatorTask(EvaluatorNetwork(config, get_format("humanml3d"), 12), texts, val_texts), train, val


def test_learns_pairs_and_sides(tmp_path: Path) -> None:
    task, train, val = make_task()
    Harness(tmp_path, task, train, val, SETTINGS, collate_motions, "cpu").fit()
    task.eval()
    found = validate(task, [collate_motions([val[row] for row in (3, *range(3), *range(4, len(val)))])])
    assert found["matching_score"] < 0.6 * found["shuffled_matching_score"]
    assert found["mirror_rejected"] > 0.9
    # Eight kinds of clip, two of each among 16 candidates: a perfect evaluator finds the very one every second time.
    assert found["r_precision_top1"] > 0.2 and found["r_precision_top3"] > 0.5
    assert (tmp_path / "model" / "net_best_r_precision_top1.tar").is_file()


def test_equal_captions_and_takes_are_no_negatives() -> None:
    """A batch whose clips all say the same: only the mirrored motions, of the other side, are negatives."""
    task, train, _ = make_task()
    batch = collate_motions([train[0], train[8], train[16]])
    embedded = task.model.encode_motion(
        torch.cat([batch["motion"], task._mirrored(batch["motion"])]), batch["mask"].repeat(2, 1)
    )
    index = batch["caption_index"]
    both = torch.cat([index, index + len(train)])
    texts = task.model.encode_text(task.texts.rows(both, torch.device("cpu")))
    similarity = texts @ embedded.T / task.model.config.temperature
    expected = []
    for row in range(6):
        rivals = [column for column in range(6) if column // 3 != row // 3]
        expected.append(-similarity[row, [row, *rivals]].log_softmax(dim=0)[0])
    fetched = task.host_fetcher()(batch)
    torch.testing.assert_close(task(batch | fetched)["text_to_motion"], torch.stack(expected).mean())


def test_a_caption_without_a_side_has_no_mirrored_negative() -> None:
    task, train, _ = make_task()
    captions = ["someone waves the hand"] * 64
    task.texts = CaptionTexts(captions, np.arange(64), WordStore(captions))
    batch = collate_motions([train[0], train[1]])
    losses = task(batch | task.host_fetcher()(batch))
    assert losses["text_to_motion"].item() == losses["motion_to_text"].item() == pytest.approx(0)


@pytest.fixture
def tiny_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same clips in a dataset folder beside the working directory."""
    root = tmp_path / "tiny"
    for name in ("new_joint_vecs", "texts"):
        (root / name).mkdir(parents=True)
    (root / "dataset.json").write_text(json.dumps({"fps": 20, "min_frames": 16}))
    for split, clips in (("train", sided_clips(12, 1)), ("val", sided_clips(4, 2))):
        for clip in clips:
            np.save(root / "new_joint_vecs" / f"{clip.id}.npy", clip.features)
            (root / "texts" / f"{clip.id}.txt").write_text(f"{clip.captions[0].text}#a/DET#0.0#0.0\n")
        (root / f"{split}.txt").write_text("\n".join(clip.id for clip in clips) + "\n")
    np.save(root / "Mean.npy", np.zeros(263, np.float32))
    np.save(root / "Std.npy", np.ones(263, np.float32))
    monkeypatch.chdir(tmp_path)
    return root


def test_command_line_trains_one_step_and_the_run_loads(
    tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from data.specs import get_spec
    from models.evaluator.interface import load_evaluator

    size = "--latent_dim 16 --n_heads 2 --text_layers 1 --motion_layers 1 --embed_dim 8 --batch_size 8 --max_steps 1"
    arguments = ["--preset", "mini", "--dataset_name", "tiny", "--gpu_id", "-1", *size.split()]

    def command(*more: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["train_evaluator.py", *arguments, *more])
        with pytest.raises(SystemExit) as ended:
            run_script(importlib.import_module("train_evaluator").main)
        return ended.value.code, capfd.readouterr().err

    code, error = command()
    assert code == 0, error
    # Another run from its weights, with an average, and one of another width.
    code, error = command("--name", "tuned", "--init_from", "logs/tiny/evaluator", "--ema", "0.9", "--keep_every", "1")
    assert code == 0, error
    assert json.loads(Path("logs/tiny/tuned/config.json").read_text())["initialised_from"]["hash"]
    code, error = command("--name", "wide", "--init_from", "logs/tiny/evaluator", "--latent_dim", "32")
    assert code == 2 and "model.latent_dim was 16 and is 32" in error and error.count("\n") == 1
    assert not Path("logs/tiny/wide").exists()
    code, error = command("--name", "pieces", "--accumulate", "2")
    assert code == 2 and "--accumulate 2 does not work here" in error
    assert not Path("logs/tiny/pieces").exists()
    spec = get_spec("tiny")
    evaluator = load_evaluator(spec, "logs")
    clips = sided_clips(4, 2)
    text = evaluator.embed_text([clip.captions[0] for clip in clips])
    motion = evaluator.embed_motion([clip.features for clip in clips])
    assert text.shape == motion.shape == (4, 8) and np.isfinite(text).all() and np.isfinite(motion).all()
