"""The same on a GPU as on the CPU: generated tokens, what is retrieved, losses.

Letters: B batch, N token steps, J part rows, Q quantisers, K retrieved.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import Tensor
from torch.overrides import TorchFunctionMode

from benchmarks.gpu.report import Row
from benchmarks.gpu.stages import STAGES, build_stage
from engine.schedule import seed_everything
from engine.task import Task
from models.configs import SamplingSettings
from models.transformer.sampling import Noise, sample_base, sample_residual
from models.vq.tokenise import decode_motions
from pipeline import TextToMotion
from utils.formats import get_format
from utils.representation import features_to_joints

ACTIONS = (
    "walks forward",
    "jumps",
    "waves with the right hand",
    "sits down",
    "kicks with the left leg",
    "turns around",
)
PROMPTS = [f"a person {first} and then {second}" for first in ACTIONS[:4] for second in ACTIONS[2:]]
FRAMES, TINY_FRAMES, TINY_PROMPTS = 120, 40, 4
FOUND = 10  # retrieved motions that are compared
SCORE_TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-4  # relative
GRADIENT_TOLERANCE = 1e-3  # relative, of the norm
JOINT_TOLERANCE = 1e-4  # metres, where the tokens are the same
TIES = 1 / 16  # share of the prompts that may meet a near-tie between two tokens: from there on they go other ways
ON_CPU = "the CPU against itself: it shows only that the check runs"
NO_DROPOUT = {"vq": "--quantize_dropout_prob 0"}


def full_precision() -> None:
    """No TF32: its ten bits would be the difference."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def generated(t2m: TextToMotion, prompts: list[str], steps: int) -> tuple[list[Tensor], list[np.ndarray]]:
    """Codes (N, J, Q) and joints (T, J, 3) a prompt, each with its number as seed."""
    lengths = torch.full((len(prompts),), steps)
    condition = t2m.condition(prompts)
    settings = SamplingSettings()
    base = sample_base(t2m.masked, condition, lengths, Noise(range(len(prompts)), lengths), settings)
    codes = sample_residual(t2m.residual, base, condition, lengths, settings)
    joints = [features_to_joints(rows, t2m.spec.format) for rows in decode_motions(t2m.vq, codes, lengths)]
    return list(codes.cpu()), joints


def generation_rows(tiny: bool, device_name: str) -> Iterator[Row]:
    """Tokens and joints of the shipped models, the same prompts with the same seeds."""
    device = torch.device(device_name)
    full_precision()
    prompts = PROMPTS[:TINY_PROMPTS] if tiny else PROMPTS
    reference = TextToMotion.load(device="cpu")
    steps = (TINY_FRAMES if tiny else FRAMES) // reference.spec.format.unit_length
    expected, found = (generated(t2m, prompts, steps) for t2m in (reference, TextToMotion.load(device=device)))
    equal = [float((mine == theirs).float().mean()) for mine, theirs in zip(expected[0], found[0], strict=True)]
    errors = [
        float(np.linalg.norm(mine - theirs, axis=-1).mean()) for mine, theirs in zip(expected[1], found[1], strict=True)
    ]
    followed = [error for error, share in zip(errors, equal, strict=True) if share == 1.0]
    figures = {
        "prompts": len(prompts),
        "equal tokens": float(np.mean(equal)),
        "prompts with equal tokens": len(followed),
        "joint error, mm": 1000 * float(np.mean(errors)),
        "of those with equal tokens, mm": 1000 * max(followed) if followed else None,
    }
    passed = len(prompts) - len(followed) <= TIES * len(prompts) and max(followed, default=1.0) < JOINT_TOLERANCE
    yield Row("generation, shipped models", passed, figures, ON_CPU if device.type == "cpu" else "")


def retrieval_rows(tiny: bool, device_name: str) -> Iterator[Row]:
    """What the shipped retriever finds in the shipped library, and its embeddings of motions."""
    device = torch.device(device_name)
    full_precision()
    prompts = PROMPTS[:TINY_PROMPTS] if tiny else PROMPTS
    rng = np.random.default_rng(0)
    width = get_format("humanml3d").n_features
    motions = [rng.standard_normal((40 + 4 * number, width), dtype=np.float32) for number in range(len(prompts))]
    results, embedded = [], []
    for place in (torch.device("cpu"), device):
        t2m = TextToMotion.load(rtrans_name=None, device=place)
        results.append(t2m.database.search(t2m.retriever.queries(prompts), FOUND))
        embedded.append(t2m.retriever.encode_motion(motions).motion.cpu())
    expected, found = results
    error = float((expected.scores - found.scores).abs().max())
    same = float((expected.indices == found.indices).float().mean())
    # Two motions whose scores differ by less than the tolerance may change places.
    gaps = -expected.scores.diff(dim=1, append=expected.scores[:, -1:] - 1)
    clear = torch.minimum(gaps, gaps.roll(1, dims=1)) > 2 * SCORE_TOLERANCE
    clear[:, 0], clear[:, -1] = gaps[:, 0] > 2 * SCORE_TOLERANCE, False  # the last one's rival is not known
    passed = error < SCORE_TOLERANCE and bool((expected.indices == found.indices)[clear].all())
    note = ON_CPU if device.type == "cpu" else ""
    yield Row("retrieval, shipped library", passed, {"same motions": same, "largest difference": error}, note)
    error = float((embedded[0] - embedded[1]).abs().max())
    yield Row("embeddings of motions", error < SCORE_TOLERANCE, {"largest difference": error}, note)


class SameRandomNumbers(TorchFunctionMode):
    """All random numbers are drawn on the CPU, so that another device gets the same ones."""

    MAKING = {torch.rand, torch.randn, torch.randint, torch.randperm, torch.rand_like, torch.randn_like}
    FILLING = {Tensor.uniform_, Tensor.normal_, Tensor.exponential_, Tensor.bernoulli_}

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in self.FILLING:
            return args[0].copy_(func(torch.empty_like(args[0], device="cpu"), *args[1:], **kwargs))
        if func not in self.MAKING:
            return func(*args, **kwargs)
        device = kwargs.get("device") or (args[0].device if args and isinstance(args[0], Tensor) else "cpu")
        return func(*args, **{**kwargs, "device": "cpu"}).to(device)


def losses_of(task: Task, batch: dict[str, Any], device: torch.device) -> dict[str, float]:
    """Losses of a training step, and the norm of its gradient."""
    task = copy.deepcopy(task).to(device).train()
    if (conditions := getattr(task, "conditions", None)) is not None and conditions.database is not None:
        conditions.database, conditions.pool = conditions.database.to(device), conditions.pool.to(device)
    seed_everything(1)
    with SameRandomNumbers():
        losses = task(send_to_device(batch, device))
    total = sum(weight * losses[name] for name, weight in task.loss_weights.items())
    total.backward()
    gradients = [each.grad for each in task.parameters() if each.grad is not None]
    named = {name: float(losses[name].detach()) for name in task.loss_weights}
    return named | {"gradient": float(torch.nn.utils.get_total_norm(gradients))}


def loss_rows(tiny: bool, device_name: str) -> Iterator[Row]:
    """Losses and gradients of every stage, tiny and without dropout: the same weights, data and random numbers."""
    device = torch.device(device_name)
    full_precision()
    for name in STAGES:
        torch.manual_seed(0)
        flags = NO_DROPOUT.get(name, "--dropout 0") + (" --text_encoder minilm" if name == "tmr" else "")
        stage = build_stage(name, tiny=True, flags=flags.split())
        expected, found = (losses_of(stage.task, stage.batch(), place) for place in (torch.device("cpu"), device))
        errors = {each: abs(found[each] - value) / max(abs(value), 1e-8) for each, value in expected.items()}
        gradient = errors.pop("gradient")
        figures = {
            "loss": sum(expected.values()),
            "relative difference": max(errors.values()),
            "of gradients": gradient,
        }
        passed = max(errors.values()) < LOSS_TOLERANCE and gradient < GRADIENT_TOLERANCE
        yield Row(f"{name}, losses", passed, figures, ON_CPU if device.type == "cpu" else "")
