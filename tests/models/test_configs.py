"""No number of a config can ask for more than a machine has, and none for more than the weights beside it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from models.configs import (
    EvaluatorConfig,
    LengthEstimatorConfig,
    MaskedTransformerConfig,
    PartTMRConfig,
    ResidualTransformerConfig,
    RVQConfig,
)
from pipeline.loader import load_run
from storage.files import read_json, write_json
from utils.errors import UserError
from utils.run import Run
from utils.schema import field_types, from_dict, to_dict

MODELS = {
    "vq": RVQConfig, "mtrans": MaskedTransformerConfig, "rtrans": ResidualTransformerConfig,
    "length": LengthEstimatorConfig, "tmr": PartTMRConfig, "evaluator": EvaluatorConfig,
}  # fmt: skip
SHIPPED = Path(__file__).parents[2] / "pretrained" / "open"
NUMBERS = [(kind, field.name) for kind in MODELS.values() for field in dataclasses.fields(kind)
           if field_types(kind)[field.name] in (int, float)]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_every_size_has_limits(kind: type, name: str) -> None:
    """Whole numbers decide how much memory a model takes: each has limits of its own."""
    strange = (10**9, -1) if field_types(kind)[name] is int else (1e300, -1.0)
    for value in strange:
        with pytest.raises(UserError, match=f"{name} must be at (most|least)"):
            from_dict(kind, to_dict(kind()) | {name: value})


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        (RVQConfig, {"width": 8192, "depth": 16}),
        (RVQConfig, {"num_quantizers": 64, "nb_code2d": 32_767, "code_dim2d": 8192}),
        (MaskedTransformerConfig, {"latent_dim": 8192, "n_heads": 8, "n_layers": 128}),
        (LengthEstimatorConfig, {"latent_dim": 8192, "n_layers": 128}),
        (PartTMRConfig, {"queue_size": 2**24}),
        (PartTMRConfig, {"part_dim": 8192, "motion_layers": 128}),
        (EvaluatorConfig, {"latent_dim": 8190, "motion_layers": 128}),
    ],
)
def test_sizes_that_are_too_much_together(kind: type, sizes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="weights, at most 2e.09 are made"):
        kind(**sizes)


def test_heads_that_do_not_divide_are_refused() -> None:
    for kind, sizes in (
        (PartTMRConfig, {"part_dim": 510}),
        (PartTMRConfig, {"text_dim": 30}),
        (EvaluatorConfig, {"n_heads": 7}),
    ):
        with pytest.raises(UserError, match="do not fit"):
            kind(**sizes)


@pytest.mark.parametrize("stage", ["vq", "mtrans", "rtrans", "length"])
def test_the_least_weights_are_fewer_than_the_weights(stage: str) -> None:
    run = Run(SHIPPED / stage)
    weights = sum(value.numel() for value in load_run(run).state_dict().values())
    assert weights / 20 < run.section("model", MODELS[stage]).least_weights < weights


@pytest.mark.parametrize(
    ("stage", "sizes"),
    [
        ("vq", {"width": 4096}),
        ("mtrans", {"n_layers": 128, "latent_dim": 1024}),
        ("rtrans", {"ff_size": 32_768, "n_layers": 128}),
        ("length", {"n_layers": 128}),
        ("tmr", {"motion_layers": 128}),
        ("evaluator", {"motion_layers": 128}),
    ],
)
def test_a_config_of_a_far_larger_model_takes_no_memory(stage: str, sizes: dict[str, int], tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / stage, tmp_path / stage)
    path = tmp_path / stage / "config.json"
    config = read_json(path)
    write_json(path, config | {"model": config["model"] | sizes})
    with pytest.raises(UserError, match="config.json: model has over .* weights, .* has .* bytes"):
        load_run(Run(tmp_path / stage))
