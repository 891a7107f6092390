"""What the tasks of the RVQ-VAE and of the transformers tell the harness about validation motions."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.health import HealthMonitor
from engine.judge import FrechetJudge
from engine.settings import VQLossWeights
from engine.token_tasks import MaskedTask, ResidualTask
from engine.validation import validate
from engine.vq_task import VQTask
from models.configs import MaskedTransformerConfig, ResidualTransformerConfig, RVQConfig
from models.transformer.condition import Condition, ConditionDims
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from models.vq.rvq import RVQVAE
from utils.formats import get_format
from utils.normalizer import Normalizer
from utils.run import TokenShape

CODES, PARTS, LEVELS = 16, 6, 3
TOKENS = TokenShape(CODES, PARTS, LEVELS, "")
METRICS = ("perplexity", "revived")
SIZES = {"latent_dim": 16, "n_heads": 2, "n_layers": 1, "ff_size": 16, "retrieved": "none", "text_states": False}


class MeanEvaluator:
    """Embeds a motion as the means of its first two columns."""

    def embed_motion(self, motions) -> np.ndarray:
        return np.stack([motion[:, :2].mean(axis=0) for motion in motions])


class Captions:
    """Conditions that are their caption's number."""

    def batch(self, index: torch.Tensor, draws: object = None, texts: object = None) -> Condition:
        keep = torch.ones(len(index), dtype=torch.bool)
        return Condition(torch.nn.functional.one_hot(index, 8).float(), None, None, None, keep, keep)


def token_batches() -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[0, 3:] = False
    tokens = torch.randint(CODES, (4, 5, PARTS, LEVELS))
    return [{"tokens": tokens, "mask": mask, "caption_index": torch.arange(first, first + 4)} for first in (0, 4)]


def decode(codes: torch.Tensor, steps: torch.Tensor) -> list[np.ndarray]:
    """Motions whose columns are codes: what was generated can be read off."""
    rows = codes.flatten(2).repeat_interleave(4, dim=1).float().numpy()
    return [row[: 4 * int(n)] for row, n in zip(rows, steps, strict=True)]


@pytest.mark.parametrize("kind", ["masked", "residual"])
def test_fid_of_generated_motions_picks_checkpoints(kind: str) -> None:
    torch.manual_seed(0)
    real = [np.random.default_rng(number).normal(size=(12, 3)) for number in range(8)]
    judge, dims = FrechetJudge(MeanEvaluator(), MeanEvaluator().embed_motion(real)), ConditionDims(text=8)
    if kind == "masked":
        task_class = MaskedTask
        model = MaskedTransformer(MaskedTransformerConfig(**SIZES), dims, TOKENS)
    else:
        task_class = ResidualTask
        model = ResidualTransformer(ResidualTransformerConfig(**SIZES), dims, TOKENS)
    task = task_class(model, Captions(), decode, judge).eval()
    assert list(task.best) == ["fid", "loss"] and set(task_class(model, Captions(), decode).best) == {"loss"}
    metrics = validate(task, token_batches())
    assert metrics["fid"] > 0 and metrics == validate(task, token_batches())
    assert "fid" not in validate(task_class(model, Captions(), decode), token_batches())
    task.decode = lambda codes, steps: [real[int(n) % len(real)] for n in steps]
    assert validate(task, token_batches())["fid"] != metrics["fid"], "the judge does not see the generated motions"


def small_vq() -> RVQVAE:
    size = {"width": 8, "depth": 1, "code_dim2d": 4, "nb_code2d": 8, "num_quantizers": 2, "merge_parts": "early"}
    return RVQVAE(RVQConfig(**size), get_format("humanml3d"))


def test_drift_counts_errors_of_one_sign_only() -> None:
    torch.manual_seed(0)
    model = small_vq()
    task = VQTask(model, VQLossWeights())
    error = torch.zeros(1, 40, model.form.n_features)
    error[..., 1] = 0.01
    assert task._drift(error).item() == pytest.approx(0.01 * np.arange(1, 41).mean() / 3, rel=1e-4)
    error[:, ::2, 1] = -0.01
    assert task._drift(error).item() < 0.01
    statistics = np.zeros(model.form.n_features), np.full(model.form.n_features, 2.0)
    model.normalizer = Normalizer.from_statistics(*statistics, model.form)
    error[..., 1] = 0.01
    assert task._drift(error).item() == pytest.approx(0.02 * np.arange(1, 41).mean() / 3, rel=1e-4), "not in metres"
    assert replace(VQLossWeights(), drift_weight=0.0).drift_weight == 0


def test_a_nod_counts_as_much_as_a_turn_of_any_other_bone_and_more_than_a_pose() -> None:
    torch.manual_seed(0)
    form = get_format("humanml3d")
    task = VQTask(small_vq(), VQLossWeights())
    rest = torch.tensor(form.offsets)
    for joint in range(1, form.n_joints):
        rest[joint] += rest[form.parents[joint]]
    motion = torch.zeros(1, 20, form.n_features)
    motion[..., form.positions] = (rest - rest[:1])[1:].flatten()

    def loss(joint: int, angle: torch.Tensor) -> float:
        """Of one bone that ends a limb and turns about x by `angle` (T,)."""
        moved = motion.clone()
        start = form.positions.start + 3 * (joint - 1)
        bone = rest[joint] - rest[form.parents[joint]]
        turned = torch.stack(
            [
                bone[0].expand(20),
                bone[1] * angle.cos() - bone[2] * angle.sin(),
                bone[1] * angle.sin() + bone[2] * angle.cos(),
            ],
            dim=-1,
        )
        moved[0, :, start : start + 3] += turned - bone
        return task._bone(task.model.normalizer.normalize(moved), motion).item()

    head = form.landmark("head")
    bones = len(next(joints for _, joints in form.parts if head in joints))
    tilt = loss(head, torch.full((20,), 0.1))
    assert tilt == pytest.approx(0.1 / bones / form.n_parts, rel=0.05)
    nod = loss(head, 0.1 * torch.tensor([1.0, -1.0]).repeat(10))
    assert nod == pytest.approx(tilt * (1 + 2 * form.unit_length), rel=0.05)
    toe = form.left_foot[1]
    others = len(next(joints for _, joints in form.parts if toe in joints))
    assert loss(toe, torch.full((20,), 0.1)) == pytest.approx(tilt * bones / others, rel=0.3), "a bone like any other"


def test_only_feet_in_contact_must_stand() -> None:
    torch.manual_seed(0)
    model = small_vq()
    task, form = VQTask(model, VQLossWeights(stance_weight=1.0)), get_format("humanml3d")
    motion = torch.zeros(1, 20, form.n_features)
    motion[..., form.contacts] = torch.tensor([1.0, 1.0, 0.0, 0.0])
    output = model.normalizer.normalize(motion).clone()
    assert task._stance(output, motion) < 1e-3
    output[..., 2] += 0.05  # the root glides, and all joints with it
    assert task._stance(output, motion).item() == pytest.approx(0.05, rel=1e-3)
    left = (
        form.positions.start + 3 * (form.left_foot[0] - 1) + 2,
        form.positions.start + 3 * (form.left_foot[1] - 1) + 2,
    )
    for column in left:
        output[..., column] -= 0.05 * torch.arange(20)  # feet that stay behind it by as much stand
    assert task._stance(output, motion) < 1e-3


def test_reconstructions_are_judged() -> None:
    torch.manual_seed(0)
    model = small_vq()
    motion = 0.01 * torch.randn(4, 16, model.form.n_features)
    mask = torch.ones(4, 16, dtype=torch.bool)
    mask[0, 8:] = False
    model.train()(motion, mask)
    judge = FrechetJudge(MeanEvaluator(), MeanEvaluator().embed_motion(list(motion.numpy())))
    seen = []
    spy = SimpleNamespace(embed_motion=lambda motions: seen.extend(motions) or MeanEvaluator().embed_motion(motions))
    judge.evaluator = spy
    metrics = validate(VQTask(model, VQLossWeights(), judge), [{"motion": motion, "mask": mask}])
    assert metrics["fid"] >= 0 and [len(row) for row in seen] == [8, 16, 16, 16]
    assert "fid" not in validate(VQTask(model, VQLossWeights()), [{"motion": motion, "mask": mask}])


def test_the_tokeniser_reports_its_codebooks_level_by_level() -> None:
    torch.manual_seed(0)
    sizes = {"width": 8, "depth": 1, "code_dim2d": 4, "nb_code2d": 8, "num_quantizers": 3, "merge_parts": "early"}
    motion = 0.01 * torch.randn(4, 16, 263)
    batch = {"motion": motion, "mask": torch.ones(4, 16, dtype=torch.bool)}
    seen = []
    for dropout in (0.0, 1.0):
        task = VQTask(
            RVQVAE(RVQConfig(**sizes, quantize_dropout_prob=dropout), get_format("humanml3d")), VQLossWeights()
        ).train()
        for _ in range(20):
            losses = task(batch)
            levels = {name: [float(losses[f"metric/{name}/{level}"]) for level in range(3)] for name in METRICS}
            assert losses["metric/perplexity"] == levels["perplexity"][0]
            assert losses["metric/revived"] == np.nansum(levels["revived"])
            used = ~np.isnan(levels["perplexity"])
            assert (used == ~np.isnan(levels["revived"])).all(), (
                "levels are left out in one number and not in the other"
            )
            seen.append(int(used.sum()))
    assert seen[:20] == [3] * 20 and set(seen[20:]) == {1, 2, 3}
    assert "level 1" in HealthMonitor(task.healthy, every=1).after_step(1000, {"metric/perplexity/1": 0.1})[0]


@pytest.mark.parametrize("kind", ["masked", "residual"])
def test_transformers_report_the_spread_of_their_tokens(kind: str) -> None:
    torch.manual_seed(0)
    dims = ConditionDims(text=8)
    if kind == "masked":
        model = MaskedTransformer(MaskedTransformerConfig(**SIZES), dims, TOKENS)
        task = MaskedTask(model, Captions(), decode)
    else:
        model = ResidualTransformer(ResidualTransformerConfig(**SIZES), dims, TOKENS)
        task = ResidualTask(model, Captions(), decode)
    batch = token_batches()[0] | {"texts": None}  # the captions here are their own texts
    assert task(batch)["metric/token_spread"] > 0.1
    model.transformer.forward = lambda cells, *rest: cells[:, :1].expand_as(cells)
    spread = float(task(batch)["metric/token_spread"])
    assert spread < 1e-3 and HealthMonitor(task.healthy, every=1).after_step(1, {"metric/token_spread": spread})
    assert not model.transformer._forward_hooks, "the measure stays behind"
