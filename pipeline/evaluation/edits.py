"""What eval_edit.py measures: clips drawn anew in part, several prompts in one motion, ways; beside plain generation.

Feet are said to be in contact as the joints say it, in every row but `vq`. Letters: T frames, J joints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.clips import Clip
from data.oracle.scores import KINDS, Attributes, score_attributes, semantic_accuracy
from data.specs import require_split
from models.configs import SamplingSettings
from options.evaluation import EvalEditOptions
from pipeline.constraints import Constraints
from pipeline.editing import Edit, EditPlan
from pipeline.evaluation.protocols import Trial
from pipeline.evaluation.run import Evaluation, spread
from pipeline.evaluation.samples import Sample
from pipeline.runs import report_folder, runs_of
from pipeline.stories import make_story, part_rows, tell
from pipeline.text_to_motion import Motion, TextToMotion
from utils import metrics
from utils.device import choose_device
from utils.errors import UserError
from utils.motion_format import CONTACT, MotionFormat
from utils.representation import canonicalize, features_to_joints, padded_features
from utils.schema import to_dict

TITLE = "edits, stories and ways, beside protocol res"
DRAWN = {"in-between": (0.25, 0.75), "continuation": (0.5, 1.0)}  # shares of a clip
PROMPTS = 10  # of a story
SECONDS = 60.0  # of a story
WANTED_SEAM = 1.5
LOWEST, LOW = 5, 0.03  # per cent of the frames in which a foot is at its lowest; metres above that which are low
FAR = 1.5  # metres: a root that moves so far has a way
# Parts that are drawn -> what the clip and the prompt show, one of these kinds of attributes and no other.
PART_EDITS = {"arms": (("locomotion",), ("arm",)), "lower_body": (("arm",), ("locomotion", "leg"))}
WHOLE_BODY = {"manner", "path"}  # arms and trunk belong to a manner; a circle needs its time
ON_FEET = {"walk", "jog", "run", "sidestep", "turn"}  # a stand keeps its arms still

Scored = Callable[[Sequence[np.ndarray]], dict[str, float]]


def evaluate_edits(options: EvalEditOptions) -> None:
    """Evaluates one pair of transformers.

    Raises:
        UserError: dataset, runs, checkpoints or database are missing or do not fit, or no clip fits a kind.
    """
    runs, device, protocol = runs_of(options.run), choose_device(options.run.gpu_id), options.protocol
    require_split(runs.spec, protocol.split)
    t2m = TextToMotion.load(
        options.run.checkpoints_dir,
        options.run.dataset_name,
        device=device,
        which_mtrans=options.which_ckpt,
        which_rtrans=options.which_epoch,
        **vars(options.models),
    )
    evaluation = Evaluation(runs.spec, protocol, t2m.vq, options.run.checkpoints_dir, device, options.clips)
    folder = report_folder(runs.find(options.models.rtrans_name))
    evaluation.run(list(trials(options, t2m, evaluation)), TITLE, folder, to_dict(options), models=t2m.fingerprint)


def trials(options: EvalEditOptions, t2m: TextToMotion, evaluation: Evaluation) -> Iterator[Trial]:
    """The rows, plain generation first."""
    maker = Maker(t2m, options.sampling)
    yield Plain("res", maker, evaluation.clips, options.protocol.batch_size)
    for kind in options.kinds:
        if kind in DRAWN:
            yield Drawn(kind, maker, evaluation.clips, DRAWN[kind])
        elif kind == "waypoints":
            moving = spread([clip for clip in evaluation.split if _goes(clip, t2m.spec.format)], options.clips)
            if not moving:
                raise UserError(f"--kinds waypoints: no clip of the split goes further than {FAR} m")
            for led in (False, True):
                yield Led("waypoints" if led else "no waypoints", maker, moving, led)
        else:
            known = [Told(clip, told) for clip, told in _told(evaluation)]
            if kind == "story":
                for alone in (True, False):
                    yield Stories("story, each alone" if alone else "story", maker, known, options.stories, alone)
                continue
            for parts in PART_EDITS:
                for alone in (True, False):
                    count = options.clips or len(evaluation.split)
                    yield Parts(f"{parts}, prompt alone" if alone else parts, maker, known, parts, count, alone)


def _told(evaluation: Evaluation) -> Iterator[tuple[Clip, Mapping[str, str]]]:
    """Clips of one segment with what it shows."""
    known = evaluation.scorer.attributes or {}
    for clip in evaluation.split:
        if clip.id in known and len(segments := known[clip.id]["segments"]) == 1:
            yield clip, segments[0]


def _goes(clip: Clip, form: MotionFormat) -> bool:
    root = features_to_joints(clip.features, form)[:, 0]
    return float(np.linalg.norm(root - root[0], axis=-1).max()) > FAR


@dataclass(frozen=True)
class Told:
    """A clip and what its one segment shows."""

    clip: Clip
    segment: Mapping[str, str]

    @property
    def kinds(self) -> list[str]:
        """Of the segment: locomotion, arm, leg, head."""
        return [kind for kind in KINDS if kind in self.segment]

    @property
    def attributes(self) -> Attributes:
        """For the oracle."""
        return {"segments": [dict(self.segment)]}


@dataclass(frozen=True)
class Maker:
    """What makes the motions of all rows."""

    t2m: TextToMotion
    sampling: SamplingSettings

    @property
    def form(self) -> MotionFormat:
        """Of the motions."""
        return self.t2m.spec.format

    def plain(self, texts: Sequence[str], frames: Sequence[int], seeds: Sequence[int], **how: Any) -> list[Motion]:
        """Plain generation."""
        return self.t2m.generate(texts, list(frames), list(seeds), sampling=self.sampling, **how)

    def story(
        self, texts: Sequence[str], steps: Sequence[int], seed: int, constraints: Constraints | None = None
    ) -> Motion:
        """Prompts one after the other."""
        unit, ends = self.form.unit_length / self.form.fps, np.cumsum([0, *steps])
        scenes = [(ends[n] * unit, ends[n + 1] * unit, text) for n, text in enumerate(texts)]
        return tell(self.t2m, make_story(scenes, self.form), seed, self.sampling, constraints=constraints)

    def skate(self, joints: np.ndarray) -> float:
        """Foot skate of joints where features say that they are in contact; NaN: nowhere."""
        touching = padded_features(joints, self.form)[: len(joints), self.form.contacts]
        return metrics.foot_skate(joints[:, self.form.feet], touching > CONTACT, self.form.fps)

    def low_skate(self, joints: np.ndarray) -> float:
        """Foot skate of feet that are low: those that slide quickly along a way are in no contact for features."""
        feet = joints[:, self.form.feet]
        low = feet[..., 1] < np.percentile(feet[..., 1], LOWEST, axis=0) + LOW
        return metrics.foot_skate(feet, low, self.form.fps)


def own_seed(seed: int, number: int) -> int:
    """Of a motion in a repeat, as the other evaluations have it."""
    return seed * 1_000_003 + number


def seams(ratios: Sequence[float]) -> dict[str, float]:
    """Numbers of the accelerations at cuts."""
    return {
        "seam": float(np.mean(ratios)),
        "seam_p95": float(np.percentile(ratios, 95)),
        "seam_above": float(np.mean(np.greater(ratios, WANTED_SEAM))),
    }


def mean_of(values: Sequence[float]) -> float:
    """Of those that are numbers."""
    return float(np.nanmean(values))


class Plain(Trial):
    """Plain generation of the clips' captions."""

    def __init__(self, name: str, maker: Maker, clips: Sequence[Clip], batch_size: int) -> None:
        super().__init__(name, len(clips))
        self.maker, self.batch_size = maker, batch_size

    def numbers(self, samples: Sequence[Sample], seed: int, scored: Scored) -> dict[str, float]:
        made = self.maker.plain(
            [sample.text for sample in samples],
            [sample.frames for sample in samples],
            [own_seed(seed, number) for number in range(len(samples))],
            batch_size=self.batch_size,
            progress=lambda done, all_of_them: self.progress(1),
        )
        return scored([padded_features(motion.joints, self.maker.form)[: len(motion.joints)] for motion in made])


class Drawn(Trial):
    """Clips of which a stretch is drawn anew, with their own captions."""

    def __init__(self, name: str, maker: Maker, clips: Sequence[Clip], drawn: tuple[float, float]) -> None:
        super().__init__(name, len(clips))
        self.maker, self.clips, self.drawn = maker, clips, drawn

    def numbers(self, samples: Sequence[Sample], seed: int, scored: Scored) -> dict[str, float]:
        maker, made, ratios, unedited, changed = self.maker, [], [], [], 0
        for number, sample in enumerate(samples):
            source = features_to_joints(self.clips[sample.clip_index].features[: sample.frames], maker.form)
            start, end = (round(share * len(source)) for share in self.drawn)
            wanted = Edit(sample.text, ((start / maker.form.fps, end / maker.form.fps),))
            motion = EditPlan(maker.t2m, source, wanted).make(own_seed(seed, number), maker.sampling)
            kept = np.r_[:start, end : len(source)]
            changed += int((motion.joints[kept] != source[kept]).any(axis=(1, 2)).sum())
            for cut in (start, end):
                if 0 < cut < len(source):
                    ratios.append(metrics.seam_ratio(motion.joints, cut, source))
                    unedited.append(metrics.seam_ratio(source, cut, source))
            made.append(motion.features)
            self.progress(1)
        above = float(np.mean(np.greater(unedited, WANTED_SEAM)))
        return scored(made) | {"kept_changed": float(changed), "unedited_above": above} | seams(ratios)


class Parts(Trial):
    """Clips whose arms, or legs, do what the caption of another clip says.

    Args:
        count: of the edits.
        alone: the other caption alone, without the clip.
    """

    def __init__(self, name: str, maker: Maker, known: Sequence[Told], parts: str, count: int, alone: bool) -> None:
        had, wanted = PART_EDITS[parts]
        self.sources = [told for told in known if _fits(told, had)]
        self.prompts = [
            told for told in known if _fits(told, wanted) or (wanted == "locomotion" and _fits(told, "leg"))
        ]
        if not self.sources or not self.prompts:
            wants = " or ".join([*had, *wanted])
            raise UserError(f"--kinds parts: there are no clips of which the oracle knows {wants} alone")
        super().__init__(name, count)
        self.maker, self.parts, self.alone = maker, parts, alone

    def numbers(self, samples: Sequence[Sample], seed: int, scored: Scored) -> dict[str, float]:
        maker, form = self.maker, self.maker.form
        generator = np.random.default_rng((seed, len(self.parts)))
        shown, before, after, skates, changed = [], [], [], [], 0
        drawn = [joint for row in part_rows(self.parts, form) for joint in form.parts[row][1]]
        for number in range(self.n_motions):
            source, prompt = (each[int(generator.integers(len(each)))] for each in (self.sources, self.prompts))
            text = prompt.clip.captions[int(generator.integers(len(prompt.clip.captions)))].text
            features = source.clip.features[: maker.t2m.spec.max_frames]
            joints = features_to_joints(features, form)
            if self.alone:
                (motion,) = maker.plain([text], [len(joints)], [own_seed(seed, number)])
            else:
                wanted = Edit(text, parts=self.parts)
                motion = EditPlan(maker.t2m, joints, wanted).make(own_seed(seed, number), maker.sampling)
                before.append(score_attributes(joints, source.attributes, form.fps))
                after.append(score_attributes(motion.joints, source.attributes, form.fps))
                kept = ~np.isin(np.arange(form.n_joints), drawn)
                changed += int((motion.joints[:, kept] != joints[:, kept]).any(axis=(1, 2)).sum())
            shown.append(all(score_attributes(motion.joints, prompt.attributes, form.fps).values()))
            skates.append(maker.skate(motion.joints))
            self.progress(1)
        numbers = {"shown": float(np.mean(shown)), "foot_skate": mean_of(skates)}
        if self.alone:
            return numbers
        held = [new[name] for old, new in zip(before, after, strict=True) for name in old if old[name]]
        numbers["held"] = float(np.mean(held)) if held else float("nan")
        # Where the legs are drawn all else moves with the root.
        return numbers if 0 in drawn else numbers | {"kept_changed": float(changed)}


def _fits(told: Told, kinds: Sequence[str]) -> bool:
    """Whether a clip shows one of the kinds alone, on its feet, and nothing that takes the whole body."""
    on_feet = told.segment.get("locomotion", "walk") in ON_FEET
    return on_feet and told.kinds in [[kind] for kind in kinds] and not WHOLE_BODY & set(told.segment)


class Stories(Trial):
    """Ten captions one after the other, in 60 s.

    Args:
        alone: each of them in a motion of its own, as long.
    """

    def __init__(self, name: str, maker: Maker, known: Sequence[Told], count: int, alone: bool) -> None:
        if not known:
            raise UserError("--kinds story: the split has no clips of one segment of which the oracle knows")
        super().__init__(name, count)
        self.maker, self.known, self.alone = maker, known, alone

    def numbers(self, samples: Sequence[Sample], seed: int, scored: Scored) -> dict[str, float]:
        maker, form = self.maker, self.maker.form
        generator = np.random.default_rng((seed, PROMPTS))
        scores, skates, ratios = [], [], []
        for number in range(self.n_motions):
            told = [self.known[each] for each in generator.choice(len(self.known), PROMPTS, len(self.known) < PROMPTS)]
            texts = [one.clip.captions[int(generator.integers(len(one.clip.captions)))].text for one in told]
            steps = stretched([len(one.clip.features) // form.unit_length for one in told], maker.t2m)
            seeds = [own_seed(seed, number * PROMPTS + each) for each in range(PROMPTS)]
            if self.alone:
                pieces = [motion.joints for motion in maker.plain(texts, [n * form.unit_length for n in steps], seeds)]
                skates += [maker.skate(piece) for piece in pieces]
            else:
                motion = maker.story(texts, steps, seeds[0])
                cuts = np.cumsum(steps)[:-1] * form.unit_length
                pieces = np.split(motion.joints, cuts)
                ratios += [metrics.seam_ratio(motion.joints, int(cut), motion.joints) for cut in cuts]
                skates.append(maker.skate(motion.joints))
            for one, piece in zip(told, pieces, strict=True):
                scores.append(score_attributes(canonicalize(piece, form), one.attributes, form.fps))
            self.progress(1)
        right = float(np.mean([all(score.values()) for score in scores]))
        numbers = {"semantic_accuracy": semantic_accuracy(scores), "shown": right, "foot_skate": mean_of(skates)}
        return numbers | (seams(ratios) if ratios else {})


def stretched(steps: Sequence[int], t2m: TextToMotion) -> list[int]:
    """Lengths in token steps that make a story's time together, each within what the models make at once."""
    form = t2m.spec.format
    longest = t2m.spec.max_frames // form.unit_length
    factor = SECONDS * form.fps / form.unit_length / sum(steps)
    return [min(max(round(each * factor), t2m.spec.min_frames // form.unit_length), longest) for each in steps]


class Led(Trial):
    """The captions of clips along three points of the clip's own way.

    Args:
        led: False: no points are given; the error is what plain generation is off.
    """

    def __init__(self, name: str, maker: Maker, clips: Sequence[Clip], led: bool) -> None:
        super().__init__(name, len(clips))
        self.maker, self.clips, self.led = maker, clips, led

    def numbers(self, samples: Sequence[Sample], seed: int, scored: Scored) -> dict[str, float]:
        maker, form = self.maker, self.maker.form
        generator = np.random.default_rng((seed, 0))
        errors, skates = [], []
        for number, clip in enumerate(self.clips):
            text = clip.captions[int(generator.integers(len(clip.captions)))].text
            root = features_to_joints(clip.features[: maker.t2m.spec.max_frames], form)[:, 0]
            steps = [len(root) // form.unit_length]
            frames = [round(share * (len(root) - 1)) for share in (1 / 3, 2 / 3, 1)]
            aims = tuple((frame / form.fps, *map(float, root[frame, [0, 2]])) for frame in frames)
            given = Constraints(waypoints=aims) if self.led else None
            made = maker.story([text], steps, own_seed(seed, number), given)
            errors.append(np.linalg.norm(made.joints[frames, 0][:, [0, 2]] - root[frames][:, [0, 2]], axis=-1).mean())
            skates.append(maker.low_skate(made.joints))
            self.progress(1)
        return {"waypoint_error": float(np.mean(errors)), "foot_skate": mean_of(skates)}
