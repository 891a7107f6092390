"""Sets of defaults per stage, chosen by `--preset`. The plain defaults are the paper's: `paper` changes nothing."""

from __future__ import annotations

from typing import Any

Preset = dict[str, Any]

# The mini dataset has about 1,900 training clips of 40-120 frames and few words. The sizes are made for two CPU cores;
# everything works offline.
_MINI_RUN: Preset = {"dataset_name": "mini", "num_workers": 0}

_MINI_SCHEDULE: Preset = {
    "batch_size": 32,
    "lr": 5e-4,
    "warm_up_iter": 200,
    "schedule": "cosine",
    "gamma": 0.02,
    "eval_every_e": 2,
    "save_every": 250,
}

_MINI_TRANSFORMER: Preset = {
    **_MINI_RUN,
    **_MINI_SCHEDULE,
    "text_encoder": "minilm",
    "latent_dim": 160,
    "n_heads": 4,
    "n_layers": 4,
    "ff_size": 320,
    "block": "interleaved",
    "n_retrieved": 1,
    # At 0.3 the validation loss was the same with and without retrieval (0.858 and 0.862): it went unused.
    "retrieval_drop_prob": 0.1,
    "dropout": 0.0,  # the masks are noise enough for so few epochs
    "lr": 1e-3,
    "weight_decay": 0.01,
    "eval_every_e": 10,
}

PRESETS: dict[str, dict[str, Preset]] = {
    "vq": {
        "paper": {},
        "mini": {
            **_MINI_RUN,
            **_MINI_SCHEDULE,
            "width": 128,
            "depth": 2,
            "merge_parts": "early",
            "code_dim2d": 64,
            "nb_code2d": 512,
            "num_quantizers": 3,
            "quantize_dropout_prob": 0.4,  # the base codes alone should tell what is done
            "window_size": 40,
            "window_stride": 16,
            "lr": 1e-3,
            "max_epoch": 10,
            "eval_every_e": 1,
        },
    },
    "mtrans": {"paper": {}, "mini": {**_MINI_TRANSFORMER, "retrieved": "tokens", "max_epoch": 80}},
    "rtrans": {"paper": {}, "mini": {**_MINI_TRANSFORMER, "share_weight": True, "max_epoch": 40}},
    "length": {
        "paper": {},
        "mini": {
            **_MINI_RUN,
            "text_encoder": "minilm",
            "latent_dim": 128,
            "n_layers": 1,
            "n_heads": 4,
            "max_epoch": 20,
            "lr": 5e-4,
            "warm_up_iter": 100,
        },
    },
    "tmr": {
        "paper": {},
        "mini": {
            **_MINI_RUN,
            "text_encoder": "minilm",
            "part_dim": 96,
            "motion_layers": 2,
            "motion_heads": 4,
            "motion_ff_size": 192,
            "patch_frames": 4,
            "embed_dim": 128,
            "text_layers": 2,
            "text_dim": 128,
            "queue_size": 1024,
            "batch_size": 64,
            "max_epoch": 20,
            "lr": 1e-3,
            "warm_up_iter": 100,
            "gamma": 0.02,
            "eval_every_e": 2,
            "save_every": 200,
        },
    },
    "evaluator": {
        "paper": {},
        "mini": {
            **_MINI_RUN,
            "text_encoder": "minilm",
            "latent_dim": 192,
            "n_heads": 4,
            "text_layers": 1,
            "motion_layers": 2,
            "embed_dim": 64,
            "batch_size": 64,
            "max_epoch": 30,
            "lr": 5e-4,
            "warm_up_iter": 100,
            "eval_every_e": 2,
            "save_every": 200,
        },
    },
}
