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
from data.specs import DatasetSpec
from models.evaluator.interface import Evaluator, load_evaluator
from models.vq.rvq import RVQVAE
from models.vq.tokenise import tokenise
from options.stages import ProtocolOptions
from pipeline.evaluation.protocols import MotionSource, Real, Reconstructed
from pipeline.evaluation.report import format_table, save_report
from pipeline.evaluation.samples import draw_samples
from pipeline.evaluation.scores import Scorer
from utils.errors import UserError
from utils.files import read_json


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
        self.spec, self.protocol = spec, protocol
        self.clips: list[Clip] = load_split(spec, protocol.split)
        attributes_path = spec.root / "attributes.json"
        attributes = read_json(attributes_path) if attributes_path.is_file() else None
        evaluator = self._evaluator(spec, checkpoints_dir, device, needed=attributes is None)
        self.scorer = Scorer(self.clips, spec.layout, spec.fps, evaluator, attributes)
        features = [clip.features[: spec.max_frames] for clip in self.clips]
        codes = tokenise(vq, features)
        self.codebook_use = (
            len(np.unique(np.concatenate([code[..., 0].numpy().ravel() for code in codes]))) / vq.config.nb_code2d
        )
        decoded = [vq.decode(code[None].to(device))[0].cpu().numpy() for code in codes]
        self.sources: list[MotionSource] = [Real(self.clips), Reconstructed(self.clips, decoded)]

    @staticmethod
    def _evaluator(spec: DatasetSpec, checkpoints_dir: str, device: Device, needed: bool) -> Evaluator | None:
        """The dataset's evaluator; where the oracle can still judge, its absence is a warning."""
        try:
            return load_evaluator(spec, checkpoints_dir, device)
        except UserError as error:
            if needed:
                raise
            print(f"warning: {error}: no FID, R-precision, matching score, diversity", file=sys.stderr)
            return None

    def run(
        self, sources: Sequence[MotionSource], title: str, folder: Path, settings: dict[str, Any]
    ) -> dict[str, Any]:
        """Scores the reference rows and `sources`, prints the table, writes log and JSON; returns the rows."""
        started = time.perf_counter()
        all_sources = [*self.sources, *sources]
        rows: dict[str, dict[str, list[float]]] = {source.name: {} for source in all_sources}
        protocol = self.protocol
        bar = tqdm(total=protocol.repeat_times * len(all_sources), desc="evaluating", unit="row")
        for repeat in range(protocol.repeat_times):
            samples = draw_samples(self.clips, protocol.seed, repeat, self.spec.max_frames, protocol.all_captions)
            for source in all_sources:
                motions = source.motions(samples, protocol.seed + repeat)
                numbers = self.scorer.score(motions, samples, np.random.default_rng((protocol.seed, repeat)))
                if isinstance(source, Reconstructed):
                    numbers |= self.scorer.reconstruction(motions, samples) | {"codebook_use": self.codebook_use}
                for metric, value in numbers.items():
                    rows[source.name].setdefault(metric, []).append(value)
                bar.update()
        bar.close()
        repeats = f"{protocol.repeat_times} repeat{'s' * (protocol.repeat_times > 1)}"
        heading = (
            f"{title} | {self.spec.name}/{protocol.split}, {len(samples)} samples, {repeats}, seed {protocol.seed}"
        )
        table = format_table(heading, rows)
        path = save_report(folder, protocol.ext, table, rows, settings)
        print(table)
        print(f"{time.perf_counter() - started:.0f} s; written: {path}")
        return rows
