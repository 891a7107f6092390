"""`benchmarks.health` at a tiny size: every stage is trained by the real builders, measured, and judged in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.health import Changes, HealthOptions, main, narrowed, stage_options
from benchmarks.long_clips import stretched
from data.mini import folder as mini
from models.configs import MaskedTransformerConfig, PartTMRConfig, RVQConfig
from utils.representation import features_to_joints

TINY = ["--steps", "2", "--every", "1", "--width_share", "0.01", "--batch_size", "4", "--gpu_id", "-1"]
NUMBERS = {
    "vq": ["metric/perplexity/5", "use/0", "nearest/5", "gradient/encoder.blocks.0"],
    "tmr": ["metric/positive_similarity", "queue/negatives", "queue/hardest_oldest"],
    "mtrans": ["val/loss_without_retrieval", "spread/1", "attention/0", "attention/retrieved"],
    "rtrans": ["val/loss_without_retrieval", "spread/1", "attention/0", "gradient/embeddings"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few clips, and the runs that the stages of this module share."""
    folder = tmp_path_factory.mktemp("health")
    mini.write(folder / "few", seed=0, n_clips=60, workers=1)
    return folder


@pytest.mark.parametrize("stage", NUMBERS)
def test_every_stage_is_measured(
    stage: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--dataset_name", str(folder / "few"), "--folder", str(folder), "--json", str(folder / f"{stage}.json")]
    flags = ["--flags", "--n_layers 2" if stage.endswith("trans") else "--seed 1"]
    monkeypatch.setattr("sys.argv", ["health", "--stage", stage, *TINY, *places, *flags])
    code = main()
    told = capsys.readouterr().out
    result = json.loads((folder / f"{stage}.json").read_text())
    assert len(result["rows"]) == result["facts"]["steps"] == 2
    for name in NUMBERS[stage]:
        assert np.isfinite(result["rows"][-1][name]), name
    complaints = [each for each in result["verdict"].values() if each]
    assert code == int(bool(complaints)) and all(each in told for each in complaints)
    assert "width_share" in told and "batch_size" in told, "what was changed is not told"
    if stage.endswith("trans"):
        assert "196 frames" in told
        assert result["facts"]["cells a sample"] == 294


def test_the_published_numbers_stay_where_widths_shrink() -> None:
    tiny = HealthOptions(stage="vq", width_share=0.125)
    chosen, changes = stage_options("vq", "mini", Path("nowhere"), tiny)
    cells = chosen.train.batch_size * chosen.data.window_size // 4 * 6
    assert cells / chosen.model.nb_code2d == 96 and chosen.model.num_quantizers == 6
    assert chosen.model.width == 64 and any("width 512 -> 64" in line for line in changes.lines)
    whole, changes = stage_options("tmr", "mini", Path("nowhere"), HealthOptions(stage="tmr", true_widths=True))
    assert whole.model == PartTMRConfig(text_encoder="minilm") and whole.train.max_steps == 3


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.9, 1.0])
def test_narrow_widths_fit_their_heads(share: float) -> None:
    for config in (RVQConfig(), MaskedTransformerConfig(latent_dim=384, n_heads=6), PartTMRConfig()):
        changes = Changes()
        small = narrowed(config, share, changes)
        assert (small == config) == (share == 1.0) == (not changes.lines)
    model = narrowed(MaskedTransformerConfig(latent_dim=512, n_heads=8), 0.25, Changes())
    assert (model.latent_dim, model.n_heads, model.ff_size) == (128, 2, 256), "the width of a head changed"


def test_stretching_keeps_the_path_and_the_poses(folder: Path) -> None:
    path = next((folder / "few" / "new_joint_vecs").glob("*.npy"))
    features = np.load(path)
    slow = stretched(features, 196, "humanml3d")
    assert slow.shape == (196, 263) and stretched(slow, 196, "humanml3d") is slow
    before, after = features_to_joints(features, "humanml3d"), features_to_joints(slow, "humanml3d")
    np.testing.assert_allclose(after[0], before[0], atol=0.02)
    np.testing.assert_allclose(after[-1], before[-1], atol=0.1)
