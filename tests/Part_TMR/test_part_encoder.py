"""The motion encoder looks at its parts' valid frames and at nothing else."""

import numpy as np
import pytest
import torch

from models.configs import PartTMRConfig
from Part_TMR.part_encoder import PartEncoder
from utils.formats import get_format


def part_encoder(patch_frames: int, layout: str = "humanml3d") -> PartEncoder:
    torch.manual_seed(0)
    columns = list(get_format(layout).part_columns.values())
    config = PartTMRConfig(
        part_dim=16, motion_layers=2, motion_heads=4, motion_ff_size=24, embed_dim=12, patch_frames=patch_frames
    )
    return PartEncoder(columns, config).eval()


@pytest.mark.parametrize("patch_frames", [1, 4])
@pytest.mark.parametrize("layout", ["humanml3d", "kit"])
def test_shapes_and_unit_length(patch_frames: int, layout: str) -> None:
    n_features = get_format(layout).n_features
    encoded = part_encoder(patch_frames, layout)(torch.randn(3, 20, n_features), torch.ones(3, 20, dtype=torch.bool))
    assert encoded.motion.shape == (3, 12) and encoded.parts.shape == (3, 6, 16)
    torch.testing.assert_close(encoded.motion.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(encoded.parts.norm(dim=-1), torch.ones(3, 6))


@pytest.mark.parametrize("patch_frames", [1, 4])
def test_padding_and_company_change_nothing(patch_frames: int) -> None:
    model = part_encoder(patch_frames)
    motions = torch.randn(3, 24, 263)
    lengths = torch.tensor([24, 10, 16])
    mask = torch.arange(24) < lengths[:, None]
    together = model(motions.masked_fill(~mask[..., None], float("inf")), mask)
    for row, length in enumerate(lengths):
        alone = model(motions[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(alone.motion[0], together.motion[row], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.parts[0], together.parts[row], atol=1e-5, rtol=1e-5)


def test_a_part_sees_its_columns_only() -> None:
    model = part_encoder(patch_frames=4)
    layout = get_format("humanml3d")
    motion, mask = torch.randn(1, 8, 263), torch.ones(1, 8, dtype=torch.bool)
    before = model(motion, mask).parts
    for number, columns in enumerate(layout.part_columns.values()):
        changed = motion.clone()
        changed[..., columns] += 1.0
        moved = (model(changed, mask).parts - before).abs().amax(dim=-1)[0] > 1e-6
        sharing = [bool(np.intersect1d(columns, other).size) for other in layout.part_columns.values()]
        assert moved[number] and moved.tolist() == sharing
