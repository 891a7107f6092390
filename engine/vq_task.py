"""Training the 2D RVQ-VAE: windows of motion -> named losses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.task import Task
from models.vq.rvq import RVQVAE
from utils.metrics import joint_error, root_aligned_joint_error
from utils.representation import features_to_joints


class VQTask(Task):
    """Smooth-L1 on all features, again on the joint positions, and the commitment loss."""

    best = {"mpjpe": "min"}

    def __init__(self, model: RVQVAE, position_weight: float, commit_weight: float):
        super().__init__()
        self.model = model
        self.loss_weights = {"reconstruction": 1.0, "position": position_weight, "commitment": commit_weight}

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: motion (B, T, D) raw windows."""
        result = self.model(batch["motion"], batch["mask"])
        positions = self.model.layout.positions
        return {
            "reconstruction": F.smooth_l1_loss(result.output, result.target),
            "position": F.smooth_l1_loss(result.output[..., positions], result.target[..., positions]),
            "commitment": result.quantized.commitment,
            "metric/perplexity": result.quantized.perplexity[0],
        }

    @torch.no_grad()
    def validate(self, loader: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Joint errors of whole clips in metres (all levels, base level alone), and level 0's share of codes used."""
        layout, codebook_size = self.model.layout, self.model.config.nb_code2d
        errors: dict[str, list[float]] = {"mpjpe": [], "joint_error": [], "mpjpe_base": []}
        used = torch.zeros(codebook_size, dtype=torch.bool)
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
                errors["mpjpe"].append(root_aligned_joint_error(real, all_levels))
                errors["joint_error"].append(joint_error(real, all_levels))
                errors["mpjpe_base"].append(root_aligned_joint_error(real, base_only))
        metrics = {name: float(np.mean(values)) for name, values in errors.items()}
        return metrics | {"codebook_use": float(used.float().mean())}
