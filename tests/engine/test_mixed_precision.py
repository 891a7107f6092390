"""Under bfloat16 autocast every stage's losses are those of single precision, but for rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.gpu.stages import STAGES, build_stage
from engine.schedule import seed_everything
from engine.task import Task
from models.text.encoder import Tower

NO_DROPOUT = {"vq": "--quantize_dropout_prob 0 --sample_codebook_temp 0", "evaluator": "--dropout 0"}


def losses_and_task(name: str, precision: str) -> tuple[dict[str, torch.Tensor], float, Task]:
    """Of the second step, when queue and codebooks hold something; and the norm of its gradient."""
    torch.manual_seed(0)
    stage = build_stage(name, tiny=True, flags=NO_DROPOUT.get(name, "--dropout 0").split())
    task, batch = stage.task.train(), stage.batch()
    for module in task.modules():
        if isinstance(module, Tower):  # it has a dropout of its own
            module.eval()
    for _ in range(2):
        seed_everything(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            losses = task(batch)
        task.after_step()
    total = sum(weight * losses[loss].float() for loss, weight in task.loss_weights.items())
    total.backward()
    gradients = [each.grad for each in task.parameters() if each.grad is not None]
    return losses, float(torch.nn.utils.get_total_norm(gradients)), task


@pytest.mark.parametrize("name", STAGES)
def test_losses_are_near_those_of_single_precision(name: str) -> None:
    full, full_norm, full_task = losses_and_task(name, "no")
    half, half_norm, half_task = losses_and_task(name, "bf16")
    for loss in full_task.loss_weights:
        assert half[loss].dtype == torch.float32, f"{loss} is {half[loss].dtype}"
        assert half[loss].item() == pytest.approx(full[loss].item(), rel=0.02), loss
    assert half_norm == pytest.approx(full_norm, rel=0.1)
    states = dict(half_task.named_buffers())
    for place, value in full_task.named_buffers():
        assert states[place].dtype == value.dtype, place
        # Which vectors codes start at is a draw that rounding turns: of the quantiser the losses speak.
        if value.is_floating_point() and "quantizer" not in place:
            difference = (states[place] - value).norm() / value.norm().clamp(min=1e-6)
            assert difference < 0.05, f"{place} differs by {difference:.1%}"


def test_embeddings_keep_unit_length() -> None:
    """Similarities are divided by a small temperature: what bfloat16 would round off shows in the losses."""
    for name in ("tmr", "evaluator"):
        torch.manual_seed(0)
        stage = build_stage(name, tiny=True)
        batch: dict[str, Any] = stage.batch()
        model = stage.task.model.eval()
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            motion, text = model.encode_motion(batch["motion"], batch["mask"]), model.encode_text(batch["texts"])
        for rows in (motion.motion if name == "tmr" else motion, text):
            assert rows.dtype == torch.float32
            torch.testing.assert_close(rows.norm(dim=-1), torch.ones(len(rows)), atol=1e-5, rtol=0)


def test_the_quantiser_keeps_single_precision() -> None:
    """Code sums are sums of many vectors: in bfloat16 they would soon stop to follow."""
    torch.manual_seed(0)
    stage = build_stage("vq", tiny=True, flags=["--quantize_dropout_prob", "0"])
    seen = []
    stage.task.model.quantizer.register_forward_pre_hook(
        lambda _, inputs: seen.append((inputs[0].dtype, torch.is_autocast_enabled("cpu")))
    )
    with torch.autocast("cpu", torch.bfloat16):
        stage.task(stage.batch())
    assert seen == [(torch.float32, False)]
