"""One frozen dataclass a model. Torch-free: option parsers are made from these, and checkpoints carry them as JSON.

The defaults are the paper's; `options.presets` holds the smaller sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


def option(default: Any, help: str) -> Any:  # noqa: A002 - the field's own word
    """A dataclass field with its help text."""
    return field(default=default, metadata={"help": help})


LAYOUT_HELP = "feature layout: humanml3d (263 columns, 22 joints) or kit (251, 21); set from the dataset"
TextEncoderName = Literal["minilm", "clip", "distilbert"]


@dataclass(frozen=True)
class RVQConfig:
    """The 2D RVQ-VAE."""

    layout: Literal["humanml3d", "kit"] = option("humanml3d", LAYOUT_HELP)
    width: int = option(512, "channels of the convolutions")
    depth: int = option(3, "residual blocks a level")
    dilation_growth_rate: int = option(3, "dilation over time grows by this factor a block")
    down_t: int = option(2, "time halvings; N = T / 2**down_t (the rest of the system expects 2)")
    merge_parts: Literal["early", "late"] = option(
        "late", "merge the joint slots into body parts at the first convolution, or in two steps with the time strides"
    )
    num_quantizers: int = option(6, "quantisation levels Q")
    nb_code2d: int = option(256, "codes a level V")
    code_dim2d: int = option(1024, "code dimension")
    mu: float = option(0.99, "decay of the codebooks' moving averages")
    quantize_dropout_prob: float = option(0.2, "probability of training a batch with fewer levels")
    sample_codebook_temp: float = option(0.5, "temperature of the Gumbel code sampling in training; 0 takes the nearest")
    feat_bias: float = option(5.0, "divides the std of root columns and contacts, so that the loss listens to them")


@dataclass(frozen=True)
class TransformerConfig:
    """What the masked and the residual transformer share."""

    text_encoder: TextEncoderName = option("clip", "frozen encoder of the captions: minilm works offline")
    latent_dim: int = option(512, "width D")
    n_heads: int = option(8, "attention heads")
    n_layers: int = option(6, "SSTA layers (interleaved: blocks)")
    ff_size: int = option(1024, "hidden width of the feed-forwards")
    dropout: float = option(0.1, "dropout")
    block: Literal["stacked", "interleaved"] = option(
        "stacked",
        "stacked: n_layers SSTA, then (attnj) n_layers over body parts, then (attnt) n_layers over time; interleaved: "
        "every layer is SSTA, attention over parts, attention over time and one feed-forward",
    )
    attnj: bool = option(False, "attention along the body parts of each step")
    attnt: bool = option(False, "attention along the time of each part")
    retrieved: Literal["none", "global", "parts", "tokens"] = option(
        "global", "what the generator sees of a retrieved motion: one vector, six part vectors, or its base tokens too"
    )
    n_retrieved: int = option(2, "retrieved motions a caption, K")
    text_states: bool = option(True, "attend to the caption's token states too, not only to the sentence embedding")
    cond_drop_prob: float = option(0.1, "probability of training without text and without retrieval")
    text_drop_prob: float = option(0.1, "probability of training without text but with retrieval")
    retrieval_drop_prob: float = option(0.3, "probability of training without retrieval but with text")


@dataclass(frozen=True)
class MaskedTransformerConfig(TransformerConfig):
    """The masked transformer (base tokens)."""

    random_token_prob: float = option(0.1, "share of the masked cells that get a random token instead of MASK")
    mask_token_prob: float = option(0.88, "share of the remaining masked cells that get MASK; the others keep their token")


@dataclass(frozen=True)
class ResidualTransformerConfig(TransformerConfig):
    """The residual transformer (levels 1..Q-1)."""

    share_weight: bool = option(False, "tie the projection of a level with the embedding of the next")


@dataclass(frozen=True)
class LengthEstimatorConfig:
    """Caption -> distribution over the number of token steps."""

    text_encoder: TextEncoderName = option("clip", "frozen encoder of the captions: minilm works offline")
    latent_dim: int = option(512, "hidden width")
    n_layers: int = option(2, "transformer layers over the caption's token states")
    n_heads: int = option(8, "attention heads")
    dropout: float = option(0.1, "dropout")
    max_steps_length: int = option(50, "longest motion in token steps of four frames, exclusive")


@dataclass(frozen=True)
class PartTMRConfig:
    """The BMM retriever."""

    layout: Literal["humanml3d", "kit"] = option("humanml3d", LAYOUT_HELP)
    parts: Literal["six", "whole"] = option("six", "six part encoders, or one over all columns (ablation)")
    part_dim: int = option(512, "width of each part encoder")
    motion_layers: int = option(4, "layers of each part encoder")
    motion_heads: int = option(4, "heads of each part encoder")
    motion_ff_size: int = option(1024, "hidden width of the part encoders' feed-forwards")
    patch_frames: int = option(1, "frames that make one token of a part encoder")
    embed_dim: int = option(512, "dimension of the joint space")
    text_encoder: TextEncoderName = option("distilbert", "minilm (offline), clip (frozen) or distilbert (trainable)")
    text_layers: int = option(2, "layers of the trainable text head over token states; 0: an MLP on the sentence vector")
    text_heads: int = option(4, "heads of the text head")
    text_dim: int = option(512, "width of the text head")
    dropout: float = option(0.1, "dropout")
    queue_size: int = option(65536, "negatives kept from former batches; 0: in-batch negatives only")
    momentum: float = option(0.99, "decay of the momentum encoders")
    temperature: float = option(0.07, "softmax temperature")
    learn_temperature: bool = option(False, "train the temperature too")
    lambda_part: float = option(0.0, "weight of the part-level loss")
    remove_false_negatives: bool = option(True, "queue entries of the same take or caption are not negatives")


@dataclass(frozen=True)
class SamplingSettings:
    """How tokens are drawn; the same object for every front end."""

    time_steps: int = option(10, "passes of the masked transformer")
    cond_scale: float = option(4.0, "guidance scale of the base tokens; 1: no guidance")
    res_cond_scale: float = option(2.0, "guidance scale of the residual tokens; 1: no guidance")
    temperature: float = option(1.0, "softmax temperature of the base tokens; 0: always the most probable code")
    topkr: float = option(0.9, "share of the least likely codes that are never drawn")
