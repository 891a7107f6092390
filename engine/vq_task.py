"""Training the 2D RVQ-VAE: windows of motion -> named losses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.health import codebook_ranges
from engine.judge import FrechetJudge
from engine.task import Task
from models.vq.rvq import RVQVAE
from options.stages import VQLossWeights
from utils.metrics import joint_error, root_aligned_joint_error
from utils.representation import features_to_joints


class VQTask(Task):
    """Smooth-L1 on all features, again on the joint positions, the drift of the path, and the commitment loss.

    Args:
        model: what is trained.
        weights: of the losses.
        judge: scores the reconstructed validation motions, or None: joint errors alone pick checkpoints.
    """

    def __init__(self, model: RVQVAE, weights: VQLossWeights, judge: FrechetJudge | None = None):
        super().__init__()
        self.model, self.judge = model, judge
        self.best = {"mpjpe": "min"} if judge is None else {"fid": "min", "mpjpe": "min"}
        self.loss_weights = {
            "reconstruction": 1.0,
            "position": weights.position_weight,
            "drift": weights.drift_weight,
            "commitment": weights.commit_weight,
        }
        self.healthy = codebook_ranges(model.config.nb_code2d)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: motion (B, T, D) raw windows."""
        result = self.model(batch["motion"], batch["mask"])
        positions = self.model.layout.positions
        losses = {
            "reconstruction": F.smooth_l1_loss(result.output, result.target),
            "position": F.smooth_l1_loss(result.output[..., positions], result.target[..., positions]),
            "drift": self._drift(result.output - result.target),
            "commitment": result.quantized.commitment,
            "metric/perplexity": result.quantized.perplexity[0],
            "metric/revived": result.quantized.revived.nansum(),
        }
        for name in ("perplexity", "revived"):
            values = getattr(result.quantized, name)
            losses |= {f"metric/{name}/{level}": value for level, value in enumerate(values.unbind())}
        return losses

    def _drift(self, error: Tensor) -> Tensor:
        """Normalised feature errors (B, T, D) -> mean distance from the path, radians of heading and metres alike.

        The path is the sum of the root's velocities: small errors of one sign, which the other losses hardly see, lead
        a motion astray.
        """
        layout = self.model.layout
        units = error.new_tensor([1.0, layout.units_per_metre, layout.units_per_metre])  # heading, x, z
        velocity = error[..., :3] * self.model.normalizer.std[:3] / units
        return velocity.cumsum(dim=1).abs().mean()

    @torch.no_grad()
    def validate(self, loader: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Joint errors of whole clips in metres (all levels, base level alone), level 0's share of codes used, FID."""
        layout, codebook_size = self.model.layout, self.model.config.nb_code2d
        errors: dict[str, list[float]] = {"mpjpe": [], "joint_error": [], "mpjpe_base": []}
        used = torch.zeros(codebook_size, dtype=torch.bool)
        motions: list[np.ndarray] = []
        for batch in loader:
            codes = self.model.encode(batch["motion"], batch["mask"])
            steps = batch["mask"][:, :: self.model.frames_per_step]
            used[codes[..., 0][steps].flatten().cpu()] = True
            full = self.model.decode(codes, steps).cpu().numpy()
            base = self.model.decode(codes[..., :1], steps).cpu().numpy()
            for row, length in enumerate(batch["mask"].sum(dim=1).tolist()):
                real, all_levels, base_only = (
                    features_to_joints(features[row, :length], layout.name)
                    for features in (batch["motion"].cpu().numpy(), full, base)
                )
                motions.append(full[row, :length])
                errors["mpjpe"].append(root_aligned_joint_error(real, all_levels))
                errors["joint_error"].append(joint_error(real, all_levels))
                errors["mpjpe_base"].append(root_aligned_joint_error(real, base_only))
        metrics = {name: float(np.mean(values)) for name, values in errors.items()}
        metrics["codebook_use"] = float(used.float().mean())
        return metrics if self.judge is None else metrics | {"fid": self.judge(motions)}
