"""What decides whether a training lives, and words for it when a number leaves its healthy range.

A task names its ranges (`Task.healthy`); the harness hands every step's and every validation's numbers to a
`HealthMonitor` and says what comes back. The numbers are those that are logged anyway: nothing is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from utils.errors import UserError

Numbers = Mapping[str, float]

PERPLEXITY_SHARE = 0.05  # of the codes
REVIVED_SHARE = 0.05  # of the codes, a step
TOKEN_SPREAD = 1e-3
RETRIEVAL_GAIN = 0.005  # of the loss; a model of mini that left retrieval unused had 0.0047
RETRIEVED_ATTENTION = 0.01  # of all attention, in the layer that looks most
SIMILARITY_MARGIN = 0.01  # of a caption to its own motion over that to the others of the batch
# Steps after which a number must be in its range: what a new model needs to get there, with room to spare.
CODEBOOK_STEPS, SIMILARITY_STEPS, RETRIEVAL_STEPS = 100, 500, 4000


def check_finite(numbers: Numbers, gradient_too: bool, where: str) -> None:
    """Raises `UserError` for a loss, or the norm of the gradient where it is not scaled, that is not finite."""
    bad = [name for name, value in numbers.items() if not math.isfinite(value) and not name.startswith("metric/")]
    if not bad and gradient_too and not math.isfinite(numbers["metric/gradient_norm"]):
        bad = ["metric/gradient_norm"]
    if bad:
        told = ", ".join(f"{name} = {numbers[name]}" for name in bad if name != "loss" or len(bad) == 1)
        raise UserError(f"{where}: {told}; lower --lr or check the data (the last saved state is untouched)")


@dataclass(frozen=True)
class HealthyRange:
    """Numbers that should lie between two limits.

    Attributes:
        kind: what it is about; every kind is told once.
        read: from means of steps, or validation metrics, the numbers by the names that they are told under; empty
            where they are not known. Numbers that are not finite are not known.
        advice: what a number outside of the range means, and what to look at.
        low, high: the limits, inclusive.
        from_step: earlier the numbers may be anything.
    """

    kind: str
    read: Callable[[Numbers], Numbers]
    advice: str
    low: float = -math.inf
    high: float = math.inf
    from_step: int = 0

    def complaint(self, numbers: Numbers) -> str | None:
        """A sentence with the number that is farthest outside of the range, the range, and what to look at."""
        known = {name: value for name, value in self.read(numbers).items() if math.isfinite(value)}
        outside = {name: value for name, value in known.items() if not self.low <= value <= self.high}
        if not outside:
            return None
        worst = max(outside, key=lambda name: max(self.low - outside[name], outside[name] - self.high))
        others = f" (and {len(outside) - 1} more are out of range)" if len(outside) > 1 else ""
        limit = f"at least {self.low:.4g}" if self.high == math.inf else f"at most {self.high:.4g}"
        return f"{worst} is {outside[worst]:.4g}{others}, healthy is {limit}: {self.advice}"


@dataclass
class HealthMonitor:
    """Watches the numbers of a training run, and tells of each kind of trouble once.

    Attributes:
        ranges: what is healthy.
        every: steps whose means are looked at together.
    """

    ranges: Sequence[HealthyRange]
    every: int = 50
    _told: set[str] = field(default_factory=set)
    _sums: dict[str, tuple[float, int]] = field(default_factory=dict)
    _count: int = 0

    def after_step(self, step: int, numbers: Numbers) -> list[str]:
        """Takes the numbers of step number `step` (counted from 1); every so many steps returns the new complaints."""
        for name, value in numbers.items():
            if math.isfinite(value):
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = (total + value, count + 1)
        self._count += 1
        if self._count < self.every:
            return []
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums, self._count = {}, 0
        return self._news(step, means)

    def after_validation(self, step: int, metrics: Numbers) -> list[str]:
        """Takes the metrics of a validation after `step` steps; returns the new complaints."""
        return self._news(step, metrics)

    def _news(self, step: int, numbers: Numbers) -> list[str]:
        news = []
        for healthy in self.ranges:
            if healthy.kind in self._told or step < healthy.from_step:
                continue
            if complaint := healthy.complaint(numbers):
                self._told.add(healthy.kind)
                news.append(f"health at step {step}: {complaint}")
        return news


def _listed(numbers: Numbers, prefix: str, words: str) -> dict[str, float]:
    """The numbers `prefix/0`, `prefix/1`, ..., named in words."""
    found = {name.removeprefix(f"{prefix}/"): value for name, value in numbers.items()}
    return {f"{words} {level}": value for level, value in found.items() if level.isdecimal()}


def codebook_ranges(nb_code: int) -> tuple[HealthyRange, ...]:
    """For codebooks of V codes whose steps report `metric/perplexity/LEVEL` and `metric/revived/LEVEL`."""
    return (
        HealthyRange(
            "perplexity",
            lambda numbers: _listed(numbers, "metric/perplexity", "perplexity of level"),
            f"of {nb_code} codes hardly any is used; look at the commitment loss, the spread of the encoder's output,"
            " --sample_codebook_temp and --lr",
            low=PERPLEXITY_SHARE * nb_code,
            from_step=CODEBOOK_STEPS,
        ),
        HealthyRange(
            "revived",
            lambda numbers: _listed(numbers, "metric/revived", "the number of codes drawn anew a step at level"),
            f"of {nb_code} codes that many die in every step, so that tokens mean nothing for long; look at the vectors"
            " a code (--batch_size, --window_size, --nb_code2d) and --mu",
            high=REVIVED_SHARE * nb_code,
            from_step=CODEBOOK_STEPS,
        ),
    )


def _retrieval_gain(numbers: Numbers) -> dict[str, float]:
    """How much higher the validation loss without retrieval is, as a share of the loss with it."""
    whole, without = numbers.get("loss", math.nan), numbers.get("loss_without_retrieval", math.nan)
    words = (
        f"what the validation loss without retrieval ({without:.4f}) has over that with it ({whole:.4f}), as a share,"
    )
    return {words: without / whole - 1 if whole else math.nan}


def transformer_ranges(retrieval: bool) -> tuple[HealthyRange, ...]:
    """For transformers whose steps report `metric/token_spread` and whose validations report the loss of both kinds.

    Args:
        retrieval: whether the model sees retrieved motions at all.
    """
    spread = HealthyRange(
        "token spread",
        lambda numbers: _named(numbers, "metric/token_spread", "the spread of the tokens after the stack"),
        "all cells of a motion look alike to the output; look at the residual paths, the depth (--n_layers) and --lr",
        low=TOKEN_SPREAD,
    )
    if not retrieval:
        return (spread,)
    ignored = HealthyRange(
        "retrieval",
        _retrieval_gain,
        "retrieval goes unused; look at what is retrieved (Part_TMR.scripts.search), --retrieved and"
        " --retrieval_drop_prob",
        low=RETRIEVAL_GAIN,
        from_step=RETRIEVAL_STEPS,
    )
    attention = HealthyRange(
        "attention to retrieval",
        lambda numbers: _named(numbers, "attention/retrieved", "the share of attention that goes to retrieved rows"),
        "they drown among the motion's own cells; look at how many rows there are (--retrieved, --n_retrieved)",
        low=RETRIEVED_ATTENTION,
        from_step=RETRIEVAL_STEPS,
    )
    return (spread, ignored, attention)


def retriever_ranges() -> tuple[HealthyRange, ...]:
    """For retrievers whose steps report `metric/positive_similarity` and `metric/negative_similarity`."""

    def margin(numbers: Numbers) -> dict[str, float]:
        positive, negative = (numbers.get(f"metric/{kind}_similarity", math.nan) for kind in ("positive", "negative"))
        words = f"the similarity of captions to their own motions ({positive:.3f}) less that to others ({negative:.3f})"
        return {words: positive - negative}

    return (
        HealthyRange(
            "similarity",
            margin,
            "the two sides do not find each other; look at the captions' clips (data.check), --lr and --temperature",
            low=SIMILARITY_MARGIN,
            from_step=SIMILARITY_STEPS,
        ),
    )


def _named(numbers: Numbers, name: str, words: str) -> dict[str, float]:
    return {words: numbers[name]} if name in numbers else {}
