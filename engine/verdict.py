"""How a training went, in words, from its curves."""

from __future__ import annotations

from collections.abc import Mapping

LITTLE = 0.01  # of a number: it did not move
LOST = 0.05  # of what was gained: so much goes again where it overfits
LATE = 0.02  # of what was gained: so much came in the last quarter where there is more to come
FELL = 0.1  # of a training loss: it learned something
LAST = 3  # validations that say together what came of it
WARMING = "; the learning rate was still rising at the end: lower --warm_up_iter or train longer"

Values = Mapping[int, float]


def verdict(points: Mapping[str, Values], best: Mapping[str, str], end: int) -> str:
    """One sentence about a training that ended after `end` steps.

    Args:
        points: finite values in order, tag -> step -> value.
        best: the watched metrics, see `Task.best`. FID, which jumps where clips are few, is taken if there is no other.
    """
    rates, losses = list(points.get("train/lr", {}).values()), points.get("train/loss", {})
    remark = WARMING if len(rates) > 1 and rates[-1] >= max(rates) > (1 + LOST) * rates[0] else ""
    watched = sorted((name for name in best if points.get(f"val/{name}")), key=lambda name: name == "fid")
    if watched:
        return _of_validation(watched[0], best[watched[0]], points[f"val/{watched[0]}"], losses, end) + remark
    if (ends := _ends(losses)) is None:
        return f"{end:,} steps are too few to tell how it went{remark}"
    return f"training loss went from {_number(ends[0])} to {_number(ends[1])} in {end:,} steps, unvalidated{remark}"


def _of_validation(name: str, direction: str, values: Values, losses: Values, end: int) -> str:
    """By a metric that is to be low (`min`) or high (`max`); costs are low where it is good."""
    sign, better, improving, worsening = {
        "min": (1, "fell", "falling", "rising"),
        "max": (-1, "rose", "rising", "falling"),
    }[direction]
    steps, costs = list(values), [sign * value for value in values.values()]
    lowest = min(costs)
    place, gain, least = costs.index(lowest), costs[0] - lowest, LITTLE * max(map(abs, costs))
    first, top = _number(values[steps[0]]), _number(values[steps[place]])
    if len(steps) == 1:
        return f"validation {name} is {first} at step {steps[0]:,} of {end:,}: a single validation shows no course"
    at = f"best at step {steps[place]:,} of {end:,}"
    course = f"validation {name} {better} from {first} to {top}, {at}"
    after = costs[place + 1 :][-LAST:]
    if after and sum(after) / len(after) - lowest > max(LOST * gain, least):
        if place == 0:
            course = f"validation {name} was {first} and never better, {at}"
        since = _ends({step: loss for step, loss in losses.items() if step >= steps[place]})
        if since is not None and since[1] > (1 + LOST) * since[0]:
            return f"{course}, {worsening} since, as the training loss got worse too: it diverges, lower --lr"
        return f"{course}, {worsening} since: it overfits"
    if gain <= least:
        return _unmoved(
            f"validation {name} stayed at {first} (at best {top}, step {steps[place]:,} of {end:,})", losses
        )
    late = max(steps[0], 0.75 * steps[-1])
    earlier = min(cost for step, cost in zip(steps, costs, strict=True) if step <= late)
    lately = [cost for step, cost in zip(steps, costs, strict=True) if step > late][-LAST:]
    if earlier - sum(lately) / len(lately) > LATE * gain:
        return f"{course}, still {improving}: more epochs would help"
    near = next(step for step, cost in zip(steps, costs, strict=True) if cost - lowest <= LATE * gain)
    return f"{course}, hardly changed since step {near:,}: more epochs would change little"


def _unmoved(told: str, losses: Values) -> str:
    if (ends := _ends(losses)) is None:
        return f"did not learn: {told}"
    went = f"training loss went from {_number(ends[0])} to {_number(ends[1])}"
    if ends[0] - ends[1] <= FELL * abs(ends[0]):
        return f"did not learn: {told}, and the {went}; look at --lr and at the data"
    return f"{told}, though the {went}: of no use for the validation clips, or before the first validation"


def _ends(values: Values) -> tuple[float, float] | None:
    """Means of the first and of the last tenth; None of fewer than two values."""
    numbers, tenth = list(values.values()), max(1, len(values) // 10)
    return (sum(numbers[:tenth]) / tenth, sum(numbers[-tenth:]) / tenth) if len(numbers) > 1 else None


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"
