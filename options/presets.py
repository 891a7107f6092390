"""Sets of defaults per stage, chosen by `--preset`. The plain defaults are the paper's: `paper` changes nothing."""

from __future__ import annotations

from typing import Any

Preset = dict[str, Any]

# The mini dataset has about 1,900 training clips of 40-120 frames and few words. The sizes are made for two CPU cores;
# everything works offline.
_SMALL_RUN: Preset = {"num_workers": 0}
_MINI_RUN: Preset = {**_SMALL_RUN, "dataset_name": "mini"}

_MINI_SCHEDULE: Preset = {
    "batch_size": 32,
    "lr": 5e-4,
    "warm_up_iter": 200,
    "schedule": "cosine",
    "gamma": 0.02,
    "eval_every_e": 2,
    "save_every": 250,
}

_TRANSFORMER: Preset = {
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

_MINI_TRANSFORMER: Preset = {**_MINI_RUN, **_TRANSFORMER}

# For some 2,000 clips of any kind, as prepare_dataset.py makes them, on two CPU cores: about an hour and a half in all.
# Wider than mini, since real motions vary more; everything works offline.
_SMALL_TRANSFORMER: Preset = {
    **_SMALL_RUN,
    **_TRANSFORMER,
    "latent_dim": 192,
    "n_heads": 6,
    "ff_size": 384,
    "dropout": 0.1,
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
        "small": {
            **_SMALL_RUN,
            **_MINI_SCHEDULE,
            "width": 160,
            "depth": 2,
            "merge_parts": "early",
            "code_dim2d": 96,
            "nb_code2d": 512,
            "num_quantizers": 4,
            "quantize_dropout_prob": 0.3,
            "window_size": 32,  # clips may be as short as 36 frames
            "window_stride": 16,
            "lr": 1e-3,
            "max_epoch": 12,
            "eval_every_e": 1,
        },
    },
    "mtrans": {
        "paper": {},
        "mini": {**_MINI_TRANSFORMER, "retrieved": "tokens", "max_epoch": 80},
        "small": {**_SMALL_TRANSFORMER, "retrieved": "tokens", "max_epoch": 30},
    },
    "rtrans": {
        "paper": {},
        "mini": {**_MINI_TRANSFORMER, "share_weight": True, "max_epoch": 40},
        "small": {**_SMALL_TRANSFORMER, "share_weight": True, "max_epoch": 20},
    },
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
        "small": {
            **_SMALL_RUN,
            "text_encoder": "minilm",
            "latent_dim": 128,
            "n_layers": 1,
            "n_heads": 4,
            "max_epoch": 30,
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
        "small": {
            **_SMALL_RUN,
            "text_encoder": "minilm",
            "part_dim": 128,
            "motion_layers": 2,
            "motion_heads": 4,
            "motion_ff_size": 256,
            "patch_frames": 4,
            "embed_dim": 192,
            "text_layers": 2,
            "text_dim": 192,
            "queue_size": 1536,
            "batch_size": 64,
            "max_epoch": 30,
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
        "small": {
            **_SMALL_RUN,
            "text_encoder": "minilm",
            "latent_dim": 256,
            "n_heads": 4,
            "text_layers": 1,
            "motion_layers": 3,
            "embed_dim": 64,  # FID of a small validation split needs fewer dimensions than clips
            "batch_size": 64,
            "max_epoch": 30,
            "lr": 5e-4,
            "warm_up_iter": 100,
            "eval_every_e": 2,
            "save_every": 200,
        },
    },
}
