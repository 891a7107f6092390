"""How long a training is: in steps, from its epochs, its least and most steps, and the time that it may take."""

from __future__ import annotations

import math
from collections.abc import Mapping

from engine.schedule import warm_up_steps
from engine.settings import TrainSettings

MEASURED = 4  # steps whose pace is known before it decides; the first one of all counts for none of them
HURRIED = 10  # a training that has time for less than a tenth of its steps is warned of


class Plan:
    """The steps of a training, and which of them are an epoch.

    Args:
        settings: of the training.
        samples: of the training set.
        round_steps: steps in which the training set is gone through once.

    Attributes:
        rounds: how often an epoch goes through the training set: a small one several times, for `min_steps`.
        whole: steps of all epochs.
        limit: the same, or `max_steps`.
        total: steps that there will be: as many, or those that fit into `max_minutes` at the pace so far.
    """

    def __init__(self, settings: TrainSettings, samples: int, round_steps: int) -> None:
        self.settings, self.samples, self.round_steps = settings, samples, round_steps
        self.rounds = max(1, math.ceil(settings.min_steps / (settings.max_epoch * round_steps)))
        self.whole = settings.max_epoch * self.rounds * round_steps
        self.limit = self.total = min(self.whole, settings.max_steps) if settings.max_steps else self.whole
        self.seconds = 0.0  # that all processes of this training took, one after the other
        self._timed = {"steps": 0.0, "spent": 0.0, "pause": 0.0, "ended": 0.0}

    def start_from(self, state: Mapping[str, float], step: int) -> None:
        """Goes on from what `state` gave after so many steps; a training that ended in time has ended."""
        self.seconds = state.get("seconds", 0.0)
        self._timed = {name: state.get(name, 0.0) for name in self._timed}
        self._fit(step)
        if 0 < self.settings.max_minutes <= self._timed["ended"]:
            self.total = min(self.limit, step)

    def state(self) -> dict[str, float]:
        """What a resume needs."""
        return {"seconds": self.seconds, **self._timed}

    def after_step(self, step: int, seconds: float, paused: bool) -> str | None:
        """Takes the time at which step number `step` (counted from 1) was done.

        Args:
            seconds: that the training has taken, former processes included; the same in all that train together.
            paused: there was a validation between this step and the one before it.

        Returns:
            a line, once it is known how many steps fit into the time.
        """
        spent, self.seconds = seconds - self.seconds, seconds
        timed = self._timed
        if step > 1:
            timed["steps"], timed["spent"] = timed["steps"] + 1, timed["spent"] + spent
        if paused:
            timed["pause"] = max(timed["pause"], spent)
        self._fit(step)
        if not self.settings.max_minutes:
            return None
        if step == self.total < self.limit:
            timed["ended"] = float(self.settings.max_minutes)
        if timed["steps"] != MEASURED:
            return None
        pace = timed["spent"] / timed["steps"]
        return (
            f"--max_minutes {self.settings.max_minutes:.3g}: {pace:.2f} s a step, {self.total:,} of {self.limit:,} fit"
        )

    def _fit(self, step: int) -> None:
        """Plans the end: what is left of the time after `step` steps, less a last validation, at the mean pace."""
        self.total = self.limit
        timed, left = self._timed, 60 * self.settings.max_minutes - self.seconds
        if not self.settings.max_minutes or (timed["steps"] < MEASURED and left > 0):
            return
        pace = max(timed["spent"] / max(timed["steps"], 1), 1e-6)
        self.total = min(self.limit, step + max(0, int((left - timed["pause"]) / pace)))

    def ends_epoch(self, rounds_done: int) -> bool:
        """Whether an epoch is over after the training set was gone through so often."""
        return rounds_done % self.rounds == 0

    def closing(self, step: int) -> list[str]:
        """A line for the end of a training that had time for a small part of its steps."""
        if step >= self.limit // HURRIED or step < self.total:
            return []
        told = f"--max_minutes {self.settings.max_minutes:.3g} was over after {step:,} of {self.limit:,} steps"
        return [f"warning: {told}: little was learned; give it more time"]

    def remarks(self) -> list[str]:
        """Lines about what is otherwise than the settings say, for the start of a training."""
        settings, lines = self.settings, []
        if self.rounds > 1 and self.limit == self.whole:
            lines.append(
                f"{self.samples} samples are {self.round_steps} step{'s' * (self.round_steps > 1)}:"
                f" an epoch goes through them {self.rounds} times, for --min_steps {settings.min_steps};"
                f" {settings.max_epoch} epochs are {self.limit:,} steps"
            )
        if (rising := warm_up_steps(settings, self.limit)) < settings.warm_up_iter:
            line = f"the learning rate rises over {rising} of {self.limit:,} steps, not over --warm_up_iter"
            line += f" {settings.warm_up_iter}"
            if settings.schedule == "step" and not any(each < self.limit for each in settings.milestones):
                line += ", and never falls: --milestones lie beyond the end, --schedule cosine follows it"
            lines.append(line)
        return lines
