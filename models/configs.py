"""One frozen dataclass a model. Torch-free: option parsers are made from these, and checkpoints carry them as JSON.

The defaults are the published ones; `options.presets` holds smaller sizes, and what we found better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from utils.errors import UserError
from utils.schema import option

Precision = Literal["float32", "bfloat16", "int8"]

MAX_WIDTH, MAX_LAYERS, MAX_HEADS = 8192, 128, 256
MOST_WEIGHTS = 2 * 10**9  # of a part of a model: what single limits leave open is refused before memory is taken


def _check_heads(width: int, n_heads: int, names: str = "--latent_dim and --n_heads") -> None:
    if width % n_heads:
        raise UserError(f"{names} do not fit: {width} is not divisible by {n_heads}")


def _check_weights(number: int) -> None:
    if number > MOST_WEIGHTS:
        raise UserError(
            f"a model of these sizes has more than {number:.2g} weights, at most {MOST_WEIGHTS:.2g} are made"
        )


TEXT_ENCODER_HELP = "frozen encoder of the captions: minilm (offline), clip, distilbert, a folder, a name on the hub"


@dataclass(frozen=True)
class RVQConfig:
    """The 2D RVQ-VAE."""

    width: int = option(512, "channels of the convolutions", minimum=1, maximum=MAX_WIDTH)
    depth: int = option(3, "residual blocks a level", minimum=1, maximum=16)
    dilation_growth_rate: int = option(3, "dilation over time grows by this factor a block", minimum=1, maximum=16)
    down_t: int = option(
        2, "time halvings, N = T / 2**down_t; a token step is four frames: always 2", minimum=2, maximum=2
    )
    merge_parts: Literal["early", "late"] = option(
        "late", "merge the joint slots into body parts at the first convolution, or in two steps with the time strides"
    )
    num_quantizers: int = option(6, "quantisation levels Q", minimum=2, maximum=64)
    nb_code2d: int = option(256, "codes a level V", minimum=1, maximum=32_767)
    code_dim2d: int = option(1024, "code dimension", minimum=1, maximum=MAX_WIDTH)
    mu: float = option(0.99, "decay of the codebooks' moving averages", minimum=0, maximum=1)
    quantize_dropout_prob: float = option(
        0.2, "probability of training a batch with fewer levels", minimum=0, maximum=1
    )
    sample_codebook_temp: float = option(
        0.5, "temperature of the Gumbel code sampling in training; 0 takes the nearest", minimum=0
    )
    feat_bias: float = option(
        5.0, "divides the std of root columns and contacts, so that the loss listens to them", minimum=0
    )
    max_bone_change: float | None = option(
        None,
        "share by which bones may be longer or shorter than the skeleton's when codes are decoded; none: any",
        minimum=0,
        maximum=1,
    )
    max_foot_slide: float | None = option(
        None,
        "metres a second that the best standing foot may slide when codes are decoded, the path makes up for more;"
        " none: any",
        minimum=0,
    )

    def __post_init__(self) -> None:
        _check_weights(self.least_weights)

    @property
    def least_weights(self) -> int:
        """The model has more weights than these: told without making it."""
        return 20 * self.depth * self.width**2 + self.num_quantizers * self.nb_code2d * self.code_dim2d


@dataclass(frozen=True)
class TransformerConfig:
    """What the masked and the residual transformer share."""

    text_encoder: str = option("clip", TEXT_ENCODER_HELP)
    latent_dim: int = option(384, "width D", minimum=1, maximum=MAX_WIDTH)
    n_heads: int = option(6, "attention heads", minimum=1, maximum=MAX_HEADS)
    n_layers: int = option(8, "SSTA layers (interleaved: blocks)", minimum=1, maximum=MAX_LAYERS)
    ff_size: int = option(1024, "hidden width of the feed-forwards", minimum=1, maximum=4 * MAX_WIDTH)
    dropout: float = option(0.2, "dropout", minimum=0, maximum=1)
    block: Literal["stacked", "interleaved"] = option(
        "stacked",
        "stacked: n_layers SSTA, then (attnj) n_layers over body parts, then (attnt) n_layers over time; interleaved: "
        "every layer is SSTA, (attnj) attention over parts, (attnt) attention over time, and one feed-forward",
    )
    attnj: bool = option(False, "attention along the body parts of each step")
    attnt: bool = option(False, "attention along the time of each part")
    retrieved: Literal["none", "global", "parts", "tokens", "levels"] = option(
        "global",
        "what the generator sees of a retrieved motion: one vector, six part vectors, one vector and its base tokens,"
        " or one vector and its tokens of all levels",
    )
    retrieved_levels: int = option(0, "levels that --retrieved levels reads; 0: all", minimum=0, maximum=64)
    trust: bool = option(
        False,
        "tell the generator how near a retrieved motion's captions come to the prompt, in a frozen space",
    )
    copy_from: float = option(
        0.9,
        "agreement of prompt and caption from which codes of a retrieved motion are copied when motions are made: the"
        " less a model knows by itself, the less pays",
        minimum=0,
        maximum=1,
    )
    n_retrieved: int = option(1, "retrieved motions a caption, K", minimum=1, maximum=1000)
    text_states: bool = option(False, "attend to the caption's token states too, not only to the sentence embedding")
    cond_drop_prob: float = option(
        0.1, "probability of training without text and without retrieval", minimum=0, maximum=1
    )
    text_drop_prob: float = option(0.0, "probability of training without text but with retrieval", minimum=0, maximum=1)
    retrieval_drop_prob: float = option(
        0.0, "probability of training without retrieval but with text", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        _check_heads(self.latent_dim, self.n_heads)
        _check_weights(self.least_weights)

    @property
    def least_weights(self) -> int:
        """The model has more weights than these."""
        return self.n_layers * self.latent_dim * (4 * self.latent_dim + 2 * self.ff_size)


@dataclass(frozen=True)
class MaskedTransformerConfig(TransformerConfig):
    """The masked transformer (base tokens)."""

    random_token_prob: float = option(
        0.1, "share of the masked cells that get a random token instead of MASK", minimum=0, maximum=1
    )
    mask_token_prob: float = option(
        0.88, "share of the remaining masked cells that get MASK; the others keep their token", minimum=0, maximum=1
    )
    part_mask_prob: float = option(
        0.0,
        "share of the samples of which only cells of some body parts are masked, as edits ask",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True)
class ResidualTransformerConfig(TransformerConfig):
    """The residual transformer (levels 1..Q-1)."""

    share_weight: bool = option(False, "tie the projection of a level with the embedding of the next")


@dataclass(frozen=True)
class LengthEstimatorConfig:
    """Caption -> distribution over the number of token steps."""

    text_encoder: str = option("clip", TEXT_ENCODER_HELP)
    latent_dim: int = option(512, "hidden width", minimum=1, maximum=MAX_WIDTH)
    n_layers: int = option(2, "transformer layers over the caption's token states", minimum=1, maximum=MAX_LAYERS)
    n_heads: int = option(8, "attention heads", minimum=1, maximum=MAX_HEADS)
    dropout: float = option(0.1, "dropout", minimum=0, maximum=1)
    max_steps_length: int = option(
        50,
        "classes, more than the longest motion has token steps of four frames; as many more as the dataset needs",
        minimum=1,
        maximum=10_000,
    )

    def __post_init__(self) -> None:
        _check_heads(self.latent_dim, self.n_heads)
        _check_weights(self.least_weights)

    @property
    def least_weights(self) -> int:
        """The model has more weights than these."""
        return 4 * self.n_layers * self.latent_dim**2


@dataclass(frozen=True)
class PartTMRConfig:
    """The BMM retriever."""

    parts: Literal["six", "whole"] = option("six", "six part encoders, or one over all columns (ablation)")
    part_dim: int = option(512, "width of each part encoder", minimum=1, maximum=MAX_WIDTH)
    motion_layers: int = option(4, "layers of each part encoder", minimum=1, maximum=MAX_LAYERS)
    motion_heads: int = option(4, "heads of each part encoder", minimum=1, maximum=MAX_HEADS)
    motion_ff_size: int = option(
        1024, "hidden width of the part encoders' feed-forwards", minimum=1, maximum=4 * MAX_WIDTH
    )
    patch_frames: int = option(1, "frames that make one token of a part encoder", minimum=1, maximum=1000)
    embed_dim: int = option(512, "dimension of the joint space", minimum=1, maximum=MAX_WIDTH)
    text_encoder: str = option(
        "distilbert", "distilbert (trained along), or a frozen one: minilm (offline), clip, a folder"
    )
    text_layers: int = option(
        0,
        "layers of the trainable text head over token states; 0: an MLP on the sentence vector",
        minimum=0,
        maximum=MAX_LAYERS,
    )
    text_heads: int = option(4, "heads of the text head", minimum=1, maximum=MAX_HEADS)
    text_dim: int = option(512, "width of the text head", minimum=1, maximum=MAX_WIDTH)
    dropout: float = option(0.1, "dropout", minimum=0, maximum=1)
    queue_size: int = option(
        65536, "negatives kept from former batches; 0: in-batch negatives only", minimum=0, maximum=2**24
    )
    momentum: float = option(0.99, "decay of the momentum encoders", minimum=0, maximum=1)
    temperature: float = option(0.07, "softmax temperature", minimum=0)
    learn_temperature: bool = option(False, "train the temperature too")
    lambda_part: float = option(0.0, "weight of the part-level loss", minimum=0)
    remove_false_negatives: bool = option(True, "queue entries of the same take or caption are not negatives")

    def __post_init__(self) -> None:
        _check_heads(self.part_dim, self.motion_heads, "--part_dim and --motion_heads")
        _check_heads(self.text_dim, self.text_heads, "--text_dim and --text_heads")
        _check_weights(max(self.least_weights, self.queue_size * self.embed_dim))

    @property
    def least_weights(self) -> int:
        """The model has more weights than these."""
        layer = self.part_dim * (4 * self.part_dim + 2 * self.motion_ff_size)
        return self.motion_layers * layer + 4 * self.text_layers * self.text_dim**2


@dataclass(frozen=True)
class EvaluatorConfig:
    """Our own evaluator, for datasets that have none of Guo's: captions and motions into one space."""

    text_encoder: str = option("minilm", TEXT_ENCODER_HELP)
    latent_dim: int = option(384, "width of both encoders", minimum=1, maximum=MAX_WIDTH)
    n_heads: int = option(6, "attention heads", minimum=1, maximum=MAX_HEADS)
    text_layers: int = option(2, "transformer layers over the caption's token states", minimum=1, maximum=MAX_LAYERS)
    motion_layers: int = option(
        4, "transformer layers over the motion, in steps of four frames", minimum=1, maximum=MAX_LAYERS
    )
    embed_dim: int = option(256, "dimension of the joint space", minimum=1, maximum=MAX_WIDTH)
    dropout: float = option(0.1, "dropout", minimum=0, maximum=1)
    temperature: float = option(0.07, "softmax temperature", minimum=0)

    def __post_init__(self) -> None:
        _check_heads(self.latent_dim, self.n_heads)
        _check_weights(self.least_weights)

    @property
    def least_weights(self) -> int:
        """The model has more weights than these."""
        return 4 * (self.text_layers + self.motion_layers) * self.latent_dim**2


@dataclass(frozen=True)
class SamplingSettings:
    """How tokens are drawn, for every front end alike. The defaults were chosen on mini's validation split."""

    time_steps: int = option(10, "passes of the masked transformer", minimum=1, maximum=10_000)
    cond_scale: float = option(2.0, "guidance scale of the base tokens; 1: no guidance", minimum=0)
    retrieval_scale: float | None = option(
        None, "guidance scale of the retrieval beyond the text, base tokens; none: cond_scale for both", minimum=0
    )
    guided_every: int = option(
        1,
        "of the passes every so many-th is guided, from the first on; the others cost half",
        minimum=1,
        maximum=10_000,
    )
    res_cond_scale: float = option(2.0, "guidance scale of the residual tokens; 1: no guidance", minimum=0)
    temperature: float = option(
        0.6, "softmax temperature of the base tokens; 0: always the most probable code", minimum=0
    )
    topkr: float = option(0.9, "share of the least likely codes that are never drawn", minimum=0, maximum=1)
    plausible: float = option(
        0.05,
        "share of the likeliest code's probability that a code needs before guidance; 0: none",
        minimum=0,
        maximum=1,
    )
    copy_scale: float = option(
        0.95, "how often codes of a retrieved motion that fits are copied at most; 0: never", minimum=0, maximum=1
    )
    copy_from: float | None = option(
        None,
        "agreement of prompt and caption from which a retrieved motion is copied at all; none: what the model was"
        " trained with",
        minimum=0,
        maximum=1,
    )
