"""The whole preparation: find, pair, read in parallel, split, finish."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data.clips import Caption
from data.motions.smpl import BodyShape
from data.prepare.captions import CaptionSet, caption_line, tag
from data.prepare.clip import MIRROR_PREFIX, ClipJob, Record, make_clip, reader_of, usable_captions
from data.prepare.index import Index, find_takes
from data.prepare.journal import Journal
from data.prepare.settings import ClipSettings, SplitSettings
from data.prepare.shards import ShardJournal, check_complete, forget_shards, holds, take_shards
from data.prepare.sources import Refusal, Source, find_motions
from data.prepare.splits import read_splits, split_by_hash
from data.specs import SPLITS
from storage.arrays import read_array, write_array
from storage.files import atomic_path, write_json
from utils.errors import UserError
from utils.formats import telling
from utils.representation import feature_statistics
from utils.shares import Share

FORMAT_VERSION = 1
AHEAD = 64  # clips a worker that are handed out at a time


@dataclass(frozen=True)
class Preparation:
    """What is to be prepared.

    Attributes:
        motions: folder of motion files.
        captions: of all clips.
        index: the clips, where they are stretches of the motions; None: each motion is one.
        out: folder of the dataset.
        clips, splits: settings.
        max_frames: longest motion that models of this dataset see; longer clips stay whole.
        bodies: SMPL bodies by gender.
        identity: all options as plain values; another identity is another dataset.
        command: as typed.
        workers: processes; 0: one a processor.
        restart: makes all clips anew.
        share: what this process makes; the rest is left to others, and what needs all clips to the merge.
        merge: takes over what the shards made, and makes no clip.
    """

    motions: Path
    captions: CaptionSet
    out: Path
    clips: ClipSettings
    splits: SplitSettings
    index: Index | None = None
    max_frames: int = 196
    bodies: Mapping[str, BodyShape] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    workers: int = 0
    restart: bool = False
    share: Share = Share()
    merge: bool = False


@dataclass(frozen=True)
class Outcome:
    """What was prepared.

    Attributes:
        out: the dataset.
        taken: its clips, by name.
        refused: what is not in it.
        remarks: what looks odd, by clip or "" for the whole.
        splits: ids by split.
        captions: those of the taken clips that are in the dataset.
        settings: of the clips; `up` as it was found.
        max_frames: longest motion that models of the dataset see.
        made_now: clips that were not done before.
    """

    out: Path
    taken: list[Record]
    refused: list[Refusal]
    remarks: list[tuple[str, str]]
    splits: dict[str, list[str]]
    captions: dict[str, list[Caption]]
    settings: ClipSettings
    max_frames: int
    made_now: int = 0


def prepare(job: Preparation) -> Outcome:
    """Makes the dataset, or goes on making it. `dataset.json`, which makes the folder a dataset, is written last; of a
    share only the clips are made.

    Raises:
        UserError: a folder or a setting is wrong. If only no clip is usable, the outcome has no `taken` clips.
    """
    given_splits = read_splits(Path(job.splits.split_dir)) if job.splits.split_dir else None
    sources, refused = find_takes(job.index, job.motions) if job.index else find_motions(job.motions)
    captions = job.captions.by_clip
    described = [source for source in sources if captions.get(source.name)]
    known = {source.name for source in sources} | {each.name for each in refused}
    remarks = [("", f"caption for no motion: {name}") for name in sorted(set(captions) - known)]
    remarks += job.index.remarks if job.index else []
    names = {source.name for source in sources}
    problems: dict[str, list[str]] = {}
    for each in job.captions.refused:
        problems.setdefault(each.name, []).append(f"{each.file}: {each.reason}")
    for source in sources:
        if not captions.get(source.name):
            why = "; ".join(problems.pop(source.name, [f"there is none for {source.name}"]))
            refused.append(Refusal(source.name, str(source.path.relative_to(job.motions)), f"no caption: {why}"))
    for name, lines in problems.items():
        remarks += [(name if name in names else "", f"caption left out: {line}") for line in lines]
    own = Journal(job.out) if job.share.whole else ShardJournal(job.out, job.share)
    with own.opened(dict(job.identity), job.restart) as journal:
        if job.merge:
            take_shards(journal, dict(job.identity))
        reader = reader_of(job.clips, job.bodies).agreed(source.path for source in described)
        axes = journal.remembered_axes(dict(reader.axes))
        settings = replace(job.clips, up=tuple(sorted(axes.items())))
        made = _make_clips(job, settings, described, journal)
        records = [journal.records[source.name] for source in described if holds(job.share, source.name)]
        if not job.share.whole:
            journal.compact()
            taken = [record for record in records if not record.reason]
            return Outcome(job.out, taken, refused, [], {}, {}, settings, job.max_frames, made)
        records = _without_twins(records, journal)
        taken = [record for record in records if not record.reason]
        refused += [Refusal(record.name, record.file, record.reason) for record in records if record.reason]
        remarks += [(record.name, remark) for record in taken for remark in record.remarks]
        if settings.mirror:
            copied = {record.name for record in taken if len(record.ids) > 1}
            others = sorted({record.name for record in taken} - copied)
            remarks += [(name, f"no mirrored copy: {MIRROR_PREFIX}{name} is a clip of its own") for name in others]
        splits = _split(job, given_splits, taken, {source.name: source.take for source in sources}, remarks)
        used = {record.name: usable_captions(captions[record.name], record.frames, settings)[0] for record in taken}
        outcome = Outcome(job.out, taken, refused, remarks, splits, used, settings, job.max_frames, made)
        if taken:
            _finish(job, outcome)
        journal.compact()
        if job.merge:
            forget_shards(journal)
    return outcome


def _make_clips(job: Preparation, settings: ClipSettings, sources: Sequence[Source], journal: Journal) -> int:
    """Makes what is not done yet; the number of clips made now."""
    names = {source.name for source in sources}
    journal.remove(set(journal.records) - names)
    sources = [source for source in sources if holds(job.share, source.name)]
    # The clip that a twin was refused for may be gone.
    journal.remove({record.name for record in journal.records.values() if record.twin and record.twin not in names})
    captions = job.captions.by_clip
    marks = {source.name: _fingerprint(source, captions[source.name]) for source in sources}
    todo = [source for source in sources if not journal.is_done(source.name, marks[source.name])]
    if job.merge:
        check_complete(journal, [source.name for source in todo])
    if not todo:
        return 0
    (job.out / "dataset.json").unlink(missing_ok=True)
    journal.remove({source.name for source in todo})
    tokens = _tokens(captions, todo)
    jobs = []
    for source in todo:
        mirror_id = MIRROR_PREFIX + source.name if settings.mirror else None
        mirror_id = None if mirror_id in names else mirror_id
        rows = tuple(replace(row, tokens=row.tokens or tokens[row.text]) for row in captions[source.name])
        jobs.append(ClipJob(source, rows, mirror_id, marks[source.name]))
    make = partial(make_clip, motions=job.motions, out=job.out, settings=settings, bodies=dict(job.bodies))
    done = 0
    bar = tqdm(total=len(sources), initial=len(sources) - len(todo), desc="preparing", unit="clip", disable=None)
    try:
        with bar, closing(_in_parallel(make, jobs, job.workers or processors())) as results:
            for record in results:
                journal.add(record)
                done += 1
                bar.update()
    except BrokenProcessPool as error:
        raise UserError(
            f"a worker process died (too little memory?) after {done} of {len(todo)} clips: the same command goes on, "
            "perhaps with fewer --workers"
        ) from error
    except KeyboardInterrupt:
        tqdm.write(f"{len(sources) - len(todo) + done} of {len(sources)} clips are done: the same command goes on")
        raise
    return done


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_parallel(make: partial, jobs: Sequence[ClipJob], workers: int) -> Iterator[Record]:
    """The records in order of completion; an interruption hands out no further clip."""
    if workers == 1 or len(jobs) == 1:
        yield from map(make, jobs)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the workers: they are the parallelism
    # Ctrl-C reaches the workers too; they finish their clip and let this process end.
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)),
        get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        for start in range(0, len(jobs), AHEAD * workers):
            waiting = [pool.submit(make, each) for each in jobs[start : start + AHEAD * workers]]
            for future in as_completed(waiting):
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _tokens(captions: Mapping[str, list[Caption]], sources: Sequence[Source]) -> dict[str, tuple[str, ...]]:
    """Tokens of all sentences that come without."""
    rows = (row for source in sources for row in captions[source.name] if not row.tokens)
    texts = sorted({row.text for row in rows})
    if not texts:
        return {}
    tokens, note = tag(texts)
    if note:
        tqdm.write(f"note: {note}")
    return dict(zip(texts, tokens, strict=True))


def _fingerprint(source: Source, captions: Sequence[Caption]) -> str:
    text = "".join(map(caption_line, captions))
    return f"{source.fingerprint}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _without_twins(records: Sequence[Record], journal: Journal) -> list[Record]:
    """Refuses all but the first of clips with the very same motion, which could be in train and in test."""
    first: dict[str, Record] = {}
    result = []
    for record in records:
        if not record.reason and first.setdefault(record.digest, record) is not record:
            twin = first[record.digest].name
            refused = replace(record, reason=f"same motion as {twin}", twin=twin, ids=())
            journal.remove({record.name})
            journal.add(refused)
            record = refused
        result.append(record)
    return result


def _split(
    job: Preparation,
    given: dict[str, list[str]] | None,
    taken: Sequence[Record],
    takes: Mapping[str, str],
    remarks: list[tuple[str, str]],
) -> dict[str, list[str]]:
    """Ids by split, mirrored copies beside their originals."""
    ids = {record.name: record.ids for record in taken}
    if given is None:
        named = split_by_hash(list(ids), job.splits, takes)
    else:
        named = {split: [name for name in names if name in ids] for split, names in given.items()}
        listed = {name for names in given.values() for name in names}
        remarks += [(name, "is in no split file") for name in sorted(set(ids) - listed)]
        lacking = listed.difference(*ids.values())
        if job.index:  # split files of HumanML3D name the clips of all data sets, and their mirrored copies
            lacking &= job.index.names
        remarks += [("", f"in a split file but not prepared: {name}") for name in sorted(lacking)]
    return {split: [clip_id for name in names for clip_id in ids[name]] for split, names in named.items()}


def _finish(job: Preparation, outcome: Outcome) -> None:
    """Statistics, split files, and last of all dataset.json."""
    form, train = outcome.settings.form, outcome.splits["train"]
    if not train:
        raise UserError("no clip is in the train split: see --split and --split_dir")
    rows = (read_array(job.out / "new_joint_vecs" / f"{clip_id}.npy") for clip_id in train)
    mean, std = feature_statistics(rows, form)
    write_array(job.out / "Mean.npy", mean)
    write_array(job.out / "Std.npy", std)
    for split in SPLITS:
        with atomic_path(job.out / f"{split}.txt") as temporary:
            temporary.write_text("".join(f"{name}\n" for name in outcome.splits[split]), encoding="utf-8")
    told = telling(form)
    if own := isinstance(told, dict):
        write_json(job.out / "format.json", told)
    write_json(
        job.out / "dataset.json",
        {
            "name": job.out.resolve().name,
            "format_version": FORMAT_VERSION,
            "joints": "format.json" if own else form.name,
            "fps": form.fps,
            "min_frames": outcome.settings.min_frames,
            "max_frames": outcome.max_frames,
            "units_per_metre": form.units_per_metre,
            "n_clips": sum(len(record.ids) for record in outcome.taken),
            "command": job.command,
        },
    )
