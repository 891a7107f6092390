"""One evaluation: repeats over the rows of a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import device as Device  # noqa: N812 - a type here
from tqdm import tqdm

from data.clips import Clip, load_split
from data.oracle.scores import read_attributes
from data.specs import DatasetSpec
from models.evaluator.interface import Evaluator, load_evaluator
from models.vq.rvq import RVQVAE
from models.vq.tokenise import detokenise, tokenise
from options.evaluation import ProtocolOptions
from pipeline.evaluation.markdown import save_markdown
from pipeline.evaluation.protocols import Fixed, Generated
from pipeline.evaluation.report import format_table, save_report
from pipeline.evaluation.samples import Sample, draw_samples
from pipeline.evaluation.scores import Measured, Scorer
from utils.device import describe_device
from utils.errors import UserError
from utils.formats import HUMANML3D

# Each draw of a repeat has a random stream of its own: that of the captions has no salt.
SCORING_SALT = 1
# Also added to a repeat's seed, so that the motions for multimodality are others than those of the table.
MULTIMODALITY_SALT = 500_000_003

Rows = dict[str, dict[str, list[float]]]


class Evaluation:
    """The clips of a split, what scores them, and the reference rows `real` and `vq`.

    Args:
        spec: dataset.
        protocol: split, repeats, seed.
        vq: for the `vq` row.
        checkpoints_dir: where the evaluator is looked for.
        device: of the evaluator.
    """

    def __init__(self, spec: DatasetSpec, protocol: ProtocolOptions, vq: RVQVAE, checkpoints_dir: str, device: Device):
        self.spec, self.protocol, self.device = spec, protocol, device
        self.clips: list[Clip] = load_split(spec, protocol.split)
        attributes_path = spec.root / "attributes.json"
        attributes = read_attributes(attributes_path, self.clips) if attributes_path.is_file() else None
        if attributes is not None and spec.format.joint_names != HUMANML3D.joint_names:
            raise UserError(f"{attributes_path}: the semantic oracle sees HumanML3D's joints alone: remove the file")
        self.evaluator = self._load_evaluator(spec, checkpoints_dir, device, needed=attributes is None)
        self.scorer = Scorer(self.clips, spec.format, self.evaluator, attributes)
        features = [clip.features[: spec.max_frames] for clip in self.clips]
        codes = tokenise(vq, features)
        self.codebook_use = (
            len(np.unique(np.concatenate([code[..., 0].numpy().ravel() for code in codes]))) / vq.config.nb_code2d
        )
        self.references = [Fixed("real", features), Fixed("vq", detokenise(vq, codes), reconstructed=True)]

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
        sources: Sequence[Generated],
        title: str,
        folder: Path,
        settings: dict[str, Any],
        multimodality: tuple[int, int] = (0, 0),
    ) -> Rows:
        """Scores the reference rows and `sources`, prints the table, writes log and JSON; returns all repeats' values.

        The JSON of a seed is always the same; what depends on the machine (seconds) is in the log only.

        Args:
            multimodality: captions a repeat, and motions of each.
        """
        protocol = self.protocol
        rows: Rows = {row.name: {} for row in [*self.references, *sources]}
        seconds = dict.fromkeys(rows, 0.0)
        bar = tqdm(total=len(self.references) + protocol.repeat_times * len(sources), desc="evaluating", unit="row")

        def timed(name: str, started: float) -> None:
            seconds[name] += time.perf_counter() - started
            bar.update()

        everything: dict[str, Measured] = {}
        for row in self.references:
            started = time.perf_counter()
            everything[row.name] = self.scorer.measure(row.motions, range(len(self.clips)), row.reconstructed)
            timed(row.name, started)
        for repeat in range(protocol.repeat_times):
            samples = draw_samples(self.clips, protocol.seed, repeat, self.spec.max_frames, protocol.all_captions)
            owners = [sample.clip_index for sample in samples]
            for row in self.references:
                numbers = self._score(everything[row.name].rows(owners), samples, repeat)
                if row.reconstructed:
                    numbers["codebook_use"] = self.codebook_use
                _append(rows[row.name], numbers)
            for row in sources:
                started = time.perf_counter()
                measured = self.scorer.measure(row.motions(samples, protocol.seed + repeat), owners, False)
                _append(rows[row.name], self._score(measured, samples, repeat))
                _append(rows[row.name], self._multimodality(row, samples, repeat, *multimodality))
                timed(row.name, started)
        bar.close()
        judge = self.evaluator
        evaluator = None if judge is None else {"name": judge.name, "fingerprint": judge.fingerprint}
        repeats = f"{protocol.repeat_times} repeat{'s' * (protocol.repeat_times > 1)}"
        heading = (
            f"{title} | {self.spec.name}/{protocol.split}, {len(samples)} samples, {repeats}, seed {protocol.seed}, "
            + ("no evaluator" if judge is None else f"evaluator {judge.name} {judge.fingerprint}")
        )
        table = format_table(heading, rows)
        spent = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
        table += f"\n{spent}; on {describe_device(self.device)}"
        print(table)
        path = save_report(folder, protocol.ext, table, rows, {**settings, "evaluator": evaluator})
        written = [path]
        if protocol.report:
            written.append(save_markdown(folder, protocol.ext, heading, rows, seconds, describe_device(self.device)))
        print(f"written: {', '.join(map(str, written))}")
        return rows

    def _score(self, measured: Measured, samples: Sequence[Sample], repeat: int) -> dict[str, float]:
        return self.scorer.score(measured, samples, np.random.default_rng((self.protocol.seed, repeat, SCORING_SALT)))

    def _multimodality(
        self, row: Generated, samples: Sequence[Sample], repeat: int, n_captions: int, n_motions: int
    ) -> dict[str, float]:
        """Several motions of some of the repeat's captions."""
        if not n_captions or self.evaluator is None or not row.multimodal:
            return {}
        generator = np.random.default_rng((self.protocol.seed, repeat, MULTIMODALITY_SALT))
        n_captions = min(n_captions, len(samples))
        chosen = generator.choice(len(samples), n_captions, replace=False).repeat(n_motions)
        seed = self.protocol.seed + repeat + MULTIMODALITY_SALT
        motions = row.motions([samples[index] for index in chosen], seed)
        return self.scorer.multimodality(motions, n_captions, generator)


def _append(row: dict[str, list[float]], numbers: dict[str, float]) -> None:
    for metric, value in numbers.items():
        row.setdefault(metric, []).append(value)
