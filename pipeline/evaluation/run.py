"""One evaluation: repeats over the rows of a table."""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import device as Device  # noqa: N812 - a type here
from tqdm import tqdm

from data.clips import Clip, by_source, load_split
from data.oracle.scores import Attributes, read_attributes
from data.specs import DatasetSpec
from models.evaluator.interface import Evaluator, load_evaluator
from models.vq.rvq import RVQVAE
from models.vq.tokenise import detokenise, tokenise
from options.evaluation import ProtocolOptions
from pipeline.evaluation.kept import KeptScores, telling_what_is_kept
from pipeline.evaluation.markdown import save_markdown
from pipeline.evaluation.protocols import Fixed, Generated, Trial
from pipeline.evaluation.report import format_table, save_report
from pipeline.evaluation.samples import Sample, draw_samples
from pipeline.evaluation.scores import Measured, Scorer, few_for_fid, small_split
from storage.row_store import identity
from utils.device import describe_device
from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.progress import progress_bar

# Each draw of a repeat has a random stream of its own: that of the captions has no salt.
SCORING_SALT = 1
# Also added to a repeat's seed, so that the motions for multimodality are others than those of the table.
MULTIMODALITY_SALT = 500_000_003

Rows = dict[str, dict[str, list[float]]]


def _row(name: str, source: str) -> str:
    """What a row is called, of all datasets together or of one of them."""
    return f"{name} [{source}]" if source else name


def spread(clips: Sequence[Clip], count: int) -> list[Clip]:
    """So many of the clips, evenly; 0, or more than there are: all."""
    count = min(count or len(clips), len(clips))
    return [clips[number * len(clips) // count] for number in range(count)]


class Evaluation:
    """The clips of a split, what scores them, and the reference rows `real` and `vq`.

    Args:
        spec: dataset.
        protocol: split, repeats, seed.
        vq: for the `vq` row.
        checkpoints_dir: where the evaluator is looked for.
        device: of the evaluator.
        n_clips: so many clips of the split, spread over it; 0: all.

    Attributes:
        clips: that are evaluated.
        split: all of the split.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        protocol: ProtocolOptions,
        vq: RVQVAE,
        checkpoints_dir: str,
        device: Device,
        n_clips: int = 0,
    ):
        self.spec, self.protocol, self.device = spec, protocol, device
        self.split: list[Clip] = load_split(spec, protocol.split)
        self.clips = spread(self.split, n_clips)
        attributes = self._attributes(spec, self.split)
        self.evaluator = self._load_evaluator(spec, checkpoints_dir, device, needed=attributes is None)
        self.scorer = Scorer(self.clips, spec.format, self.evaluator, attributes)
        features = [clip.features[: spec.max_frames] for clip in self.clips]
        codes = tokenise(vq, features)
        self.codebook_use = (
            len(np.unique(np.concatenate([code[..., 0].numpy().ravel() for code in codes]))) / vq.config.nb_code2d
        )
        self.references = [Fixed("real", features), Fixed("vq", detokenise(vq, codes), reconstructed=True)]

    @staticmethod
    def _attributes(spec: DatasetSpec, clips: Sequence[Clip]) -> dict[str, Attributes] | None:
        """What the semantic oracle knows of the clips; of several datasets, those that have an `attributes.json`."""
        found: dict[str, Attributes] = {}
        for one in spec.sets:
            if not (path := one.root / "attributes.json").is_file():
                continue
            if spec.format.joint_names != HUMANML3D.joint_names:
                raise UserError(f"{path}: the semantic oracle sees HumanML3D's joints alone: remove the file")
            source = one.name if spec.members else ""
            names = {clip.id.rpartition("/")[2]: clip for clip in clips if clip.source == source}
            told = read_attributes(path, [replace(clip, id=name) for name, clip in names.items()])
            found |= {clip.id: told[name] for name, clip in names.items()}
        return found or None

    @staticmethod
    def _load_evaluator(spec: DatasetSpec, checkpoints_dir: str, device: Device, needed: bool) -> Evaluator | None:
        """The dataset's evaluator; where the oracle can still judge, its absence is a warning."""
        try:
            return load_evaluator(spec, checkpoints_dir, device)
        except UserError as error:
            if needed:
                raise
            print(f"warning: {error}: no FID, R-precision, matching score, diversity", file=sys.stderr)
            return None

    def run(
        self,
        sources: Sequence[Generated | Trial],
        title: str,
        folder: Path,
        settings: dict[str, Any],
        multimodality: tuple[int, int] = (0, 0),
        models: str = "",
        kept: list[KeptScores] | None = None,
    ) -> Rows:
        """Scores the reference rows and `sources`, prints the table, writes log and JSON; returns all repeats' values.

        Of several datasets, the rows of all clips together are followed by those of each: `res [mini]`.

        The JSON of a seed is always the same, also when a stopped run goes on; what depends on the machine (seconds) is
        in the log only.

        Args:
            multimodality: captions a repeat, and motions of each.
            models: tells what makes the motions of `sources` from anything else.
            kept: takes what is kept for a run that is stopped later on; None: it is removed with the report's writing.
        """
        protocol = self.protocol
        scores = KeptScores(folder, protocol.ext, self._decisive(title, settings, multimodality, models))
        seconds = {row.name: 0.0 for row in [*self.references, *sources]}
        rows: Rows = {_row(name, source): {} for source in ("", *by_source(self.clips)) for name in seconds}
        places = [(name, repeat) for repeat in range(protocol.repeat_times) for name in seconds]
        missing = [name for name, repeat in places if (name, repeat) not in scores]
        found = len(places) - len(missing)
        taken_up = f"{found} of {len(places)} rows of repeats are those of a run that was stopped"
        if found:
            print(f"note: {taken_up}")
        everything: dict[str, Measured] = {}
        with self._bar(sources, missing, multimodality) as bar, telling_what_is_kept():
            for repeat in range(protocol.repeat_times):
                samples = draw_samples(self.clips, protocol.seed, repeat, self.spec.max_frames, protocol.all_captions)
                for row in [*self.references, *sources]:
                    place = row.name, repeat
                    if place not in scores:
                        started = time.perf_counter()
                        numbers = self._numbers(row, samples, repeat, everything, multimodality)
                        scores[place] = numbers, time.perf_counter() - started
                        bar.update(isinstance(row, Fixed))
                    numbers, spent = scores[place]
                    for name, value in numbers.items():
                        source, _, metric = name.rpartition("/")
                        rows[_row(row.name, source)].setdefault(metric, []).append(value)
                    seconds[row.name] += spent
        judge, notes = self.evaluator, []
        trials = {row.name for row in sources if isinstance(row, Trial)}
        for source, clips in ({"": range(len(self.clips))} | by_source(self.clips)).items() if judge else ():
            notes += small_split(len(clips), judge.dimension, source)
            if few_for_fid(len(clips), judge.dimension):
                for name in seconds:
                    if name not in trials or "fid" in rows[_row(name, source)]:
                        rows[_row(name, source)]["fid"] = []
        rows = {name: row for name, row in rows.items() if row}  # of one dataset alone a trial may have nothing to tell
        evaluator = None if judge is None else {"name": judge.name, "fingerprint": judge.fingerprint}
        repeats = f"{protocol.repeat_times} repeat{'s' * (protocol.repeat_times > 1)}"
        heading = (
            f"{title} | {self.spec.name}/{protocol.split}, {len(samples)} samples, {repeats}, seed {protocol.seed}, "
            + ("no evaluator" if judge is None else f"evaluator {judge.name} {judge.fingerprint}")
        )
        table = "\n".join([format_table(heading, rows), *(f"({note})" for note in notes)])
        spent = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
        table += f"\n{spent}; on {describe_device(self.device)}" + f"; {taken_up}, with their seconds" * bool(found)
        print(table)
        path = save_report(folder, protocol.ext, table, rows, {**settings, "evaluator": evaluator}, notes)
        written = [path]
        if protocol.report:
            told = seconds, describe_device(self.device), notes
            written.append(save_markdown(folder, protocol.ext, heading, rows, *told))
        print(f"written: {', '.join(map(str, written))}")
        if kept is None:
            scores.forget()
        else:
            kept.append(scores)
        return rows

    def _decisive(
        self, title: str, settings: dict[str, Any], multimodality: tuple[int, int], models: str
    ) -> list[str | bytes]:
        """All that decides the numbers: protocol, settings, weights, clips with their words, judge, kind of machine."""
        settings = copy.deepcopy(settings)
        for group, name in (("protocol", "repeat_times"), ("protocol", "report"), ("run", "gpu_id")):
            settings.get(group, {}).pop(name, None)
        judge = None if self.evaluator is None else [self.evaluator.name, self.evaluator.fingerprint]
        machine = [self.device.type, torch.__version__, np.__version__]
        return [
            json.dumps([title, settings, multimodality, self.protocol.seed, models, judge, machine], sort_keys=True),
            json.dumps(self.scorer.attributes, sort_keys=True),
            *(f"{clip.id} {clip.captions}" for clip in self.clips),
            *(identity(motion) for row in self.references for motion in row.motions),
        ]

    def _bar(
        self, sources: Sequence[Generated | Trial], missing: Sequence[str], multimodality: tuple[int, int]
    ) -> tqdm:
        """Counts motions that sources make for the rows that are missing; a fixed row is one."""
        total, every = len(missing), self.protocol.all_captions
        n_samples = sum(len(clip.captions) for clip in self.clips) if every else len(self.clips)
        for source in sources:
            tries = self._tries(source, n_samples, *multimodality)
            made = source.n_motions if isinstance(source, Trial) else n_samples + tries
            total += missing.count(source.name) * (made - 1)
        bar = progress_bar(total, "evaluating", "motion")
        for source in sources:
            source.progress = bar.update
        return bar

    def _tries(self, row: Generated, n_samples: int, n_captions: int, n_motions: int) -> int:
        """Motions that a repeat makes for multimodality."""
        if self.evaluator is None or not row.multimodal:
            return 0
        return min(n_captions, n_samples) * n_motions

    def _numbers(
        self,
        row: Fixed | Generated | Trial,
        samples: Sequence[Sample],
        repeat: int,
        everything: dict[str, Measured],
        multimodality: tuple[int, int],
    ) -> dict[str, float]:
        """A row's numbers in a repeat; what is measured of fixed rows is remembered in `everything`."""
        owners, seed = [sample.clip_index for sample in samples], self.protocol.seed + repeat

        def scored(motions: Sequence[np.ndarray]) -> dict[str, float]:
            return self._score(self.scorer.measure(motions, owners, False), samples, repeat)

        if isinstance(row, Trial):
            numbers = row.numbers(samples, seed, scored)
            return {
                name: value for name, value in numbers.items() if not math.isnan(value)
            }  # no foot touched the floor
        if not isinstance(row, Fixed):
            return scored(row.motions(samples, seed)) | self._multimodality(row, samples, repeat, *multimodality)
        if row.name not in everything:
            everything[row.name] = self.scorer.measure(row.motions, range(len(self.clips)), row.reconstructed)
        numbers = self._score(everything[row.name].rows(owners), samples, repeat)
        return numbers | {"codebook_use": self.codebook_use} if row.reconstructed else numbers

    def _score(self, measured: Measured, samples: Sequence[Sample], repeat: int) -> dict[str, float]:
        """The numbers of all samples, and those of each of several datasets, whose names begin with its own."""
        entropy = self.protocol.seed, repeat, SCORING_SALT
        numbers = self.scorer.score(measured, samples, np.random.default_rng(entropy))
        for source, clips in by_source(self.clips).items():
            members = frozenset(clips)
            own = [number for number, sample in enumerate(samples) if sample.clip_index in members]
            if len(own) > 1:  # of one there is neither distance nor diversity
                chosen = measured.rows(own), [samples[number] for number in own]
                part = self.scorer.score(*chosen, np.random.default_rng(entropy), clips)
                numbers |= {f"{source}/{name}": value for name, value in part.items()}
        return numbers

    def _multimodality(
        self, row: Generated, samples: Sequence[Sample], repeat: int, n_captions: int, n_motions: int
    ) -> dict[str, float]:
        """Several motions of some of the repeat's captions."""
        if not (tries := self._tries(row, len(samples), n_captions, n_motions)):
            return {}
        generator = np.random.default_rng((self.protocol.seed, repeat, MULTIMODALITY_SALT))
        n_captions = tries // n_motions
        chosen = generator.choice(len(samples), n_captions, replace=False).repeat(n_motions)
        seed = self.protocol.seed + repeat + MULTIMODALITY_SALT
        motions = row.motions([samples[index] for index in chosen], seed)
        return self.scorer.multimodality(motions, n_captions, generator)
