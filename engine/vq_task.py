"""Training the 2D RVQ-VAE: windows of motion -> named losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.health import codebook_ranges
from engine.judge import FrechetJudge
from engine.settings import VQLossWeights
from engine.task import Task
from models.vq.rvq import RVQVAE
from utils.metrics import joint_error, root_aligned_joint_error
from utils.motion_format import CONTACT
from utils.processes import relative_weight
from utils.representation import bone_directions, features_to_joints, foot_steps

TINY = 1e-8  # square metres, whose root has a gradient; contacts where there are none
ERRORS = ("mpjpe", "joint_error", "mpjpe_base")


class VQTask(Task):
    """Smooth-L1 on all features, again on the joint positions, the directions of bones, the drift of the path, the way
    of standing feet, and the commitment loss.

    Args:
        model: what is trained.
        weights: of the losses.
        judge: scores the reconstructed validation motions, or None: joint errors alone pick checkpoints.
    """

    indivisible = "the codebook follows the vectors of each forward pass, and would follow every piece of a step"

    def __init__(self, model: RVQVAE, weights: VQLossWeights, judge: FrechetJudge | None = None):
        super().__init__()
        self.model, self.judge = model, judge
        self.best = {"mpjpe": "min"} if judge is None else {"fid": "min", "mpjpe": "min"}
        self.loss_weights = {
            "reconstruction": 1.0,
            "position": weights.position_weight,
            "bone": weights.bone_weight,
            "drift": weights.drift_weight,
            "stance": weights.stance_weight,
            "commitment": weights.commit_weight,
        }
        self.healthy = codebook_ranges(model.config.nb_code2d)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: motion (B, T, D) raw windows."""
        result = self.model(batch["motion"], batch["mask"])
        positions = self.model.form.positions
        losses = {
            "reconstruction": F.smooth_l1_loss(result.output, result.target),
            "position": F.smooth_l1_loss(result.output[..., positions], result.target[..., positions]),
            "bone": self._bone(result.output, batch["motion"]),
            "drift": self._drift(result.output - result.target),
            "stance": self._stance(result.output, batch["motion"]),
            "commitment": result.quantized.commitment,
            "metric/perplexity": result.quantized.perplexity[0],
            "metric/revived": result.quantized.revived.nansum(),
        }
        for name in ("perplexity", "revived"):
            values = getattr(result.quantized, name)
            losses |= {f"metric/{name}/{level}": value for level, value in enumerate(values.unbind())}
        return losses

    def _bone(self, output: Tensor, motion: Tensor) -> Tensor:
        """Mean distance between the directions of bones and between their turns within a token step, all parts alike:
        about angles, in radians.

        A nod moves a head by three centimetres: beside an arm's ways nothing, as the turn of a bone as much as a wave.
        """
        form = self.model.form
        raw = self.model.normalizer.denormalize(output)
        error = bone_directions(raw, form) - bone_directions(motion, form)
        turns = form.unit_length * error.diff(dim=1)
        by_bone = sum(each.square().sum(dim=-1).add(TINY).sqrt().mean(dim=(0, 1)) for each in (error, turns))
        parts = [[joint - 1 for joint in joints if joint] for _, joints in form.parts]
        return torch.stack([by_bone[bones].mean() for bones in parts if bones]).mean()

    def _drift(self, error: Tensor) -> Tensor:
        """Normalised feature errors (B, T, D) -> mean distance from the path, radians of heading and metres alike.

        The path is the sum of the root's velocities: small errors of one sign, which the other losses hardly see, lead
        a motion astray.
        """
        heading, path = (error[..., :3] * self.model.normalizer.std[:3]).split([1, 2], dim=-1)
        velocity = torch.cat([heading, path / self.model.form.units_per_metre], dim=-1)
        return velocity.cumsum(dim=1).abs().mean()

    def _stance(self, output: Tensor, motion: Tensor) -> Tensor:
        """Mean way, metres a frame, of feet that are in contact in the motion.

        Where a foot is, positions, heading and path say together; small errors of each, which differ, make it slide.
        """
        form = self.model.form
        contacts = (motion[:, :-1, form.contacts] > CONTACT).float()
        ways = foot_steps(self.model.normalizer.denormalize(output), form).square().sum(dim=-1).add(TINY).sqrt()
        count = contacts.sum().clamp(min=TINY)
        return (ways * contacts).sum() / count * relative_weight(count)

    def validate_batch(self, batch: dict[str, Any], number: int) -> dict[str, Any]:
        """Joint errors of each clip, level 0's codes in use, and what the judge sees of the reconstructions."""
        form = self.model.form
        codes = self.model.encode(batch["motion"], batch["mask"])
        steps = batch["mask"][:, :: self.model.frames_per_step]
        used = torch.zeros(self.model.config.nb_code2d, dtype=torch.bool)
        used[codes[..., 0][steps].flatten().cpu()] = True
        real, full = batch["motion"].cpu().numpy(), self.model.decode(codes, steps).cpu().numpy()
        base = self.model.decode(codes[..., :1], steps).cpu().numpy()
        record: dict[str, Any] = {"used": used} | {name: [] for name in ERRORS}
        lengths = batch["mask"].sum(dim=1).tolist()
        for row, length in enumerate(lengths):
            original, all_levels, base_only = (
                features_to_joints(features[row, :length], form) for features in (real, full, base)
            )
            record["mpjpe"].append(root_aligned_joint_error(original, all_levels))
            record["joint_error"].append(joint_error(original, all_levels))
            record["mpjpe_base"].append(root_aligned_joint_error(original, base_only))
        if self.judge is not None:
            record["judged"] = self.judge.embed([full[row, :length] for row, length in enumerate(lengths)])
        return record

    def summarise(self, records: list[dict[str, Any]]) -> dict[str, float]:
        """Joint errors of whole clips in metres (all levels, base level alone), level 0's share of codes used, FID."""
        metrics = {name: float(np.mean(np.concatenate([record[name] for record in records]))) for name in ERRORS}
        metrics["codebook_use"] = float(torch.stack([record["used"] for record in records]).any(dim=0).float().mean())
        if self.judge is not None:
            metrics["fid"] = self.judge.distance([record["judged"] for record in records])
        return metrics
