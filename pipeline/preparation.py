"""prepare_dataset.py: the preparation, its report, and a picture of some clips."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from data.motions.joint_maps import load_joint_map
from data.prepare.captions import CaptionSet
from data.prepare.index import Index, read_index
from data.prepare.report import group_of, long_clips, markdown, report_of
from data.prepare.run import Outcome, Preparation, prepare
from options.command_line import own_command
from options.prepare import PrepareOptions
from pipeline.motions import read_bodies
from storage.arrays import read_array
from storage.files import atomic_path, file_hash, write_json
from utils.errors import UserError, listed
from visualization.sequence import render_sequence

TILE = (480, 300)  # pixels of a clip on the contact sheet
POSES = 5
COLUMNS = 4
FEW = 3  # clips that say little of a training


def prepare_dataset(options: PrepareOptions) -> int:
    """Makes the dataset and prints what was made; 1 if a clip was refused, else 0.

    Raises:
        UserError: a folder or a setting is wrong, or no clip is usable.
    """
    command = own_command()
    index = read_index(Path(options.humanml3d_index)) if options.humanml3d_index is not None else None
    captions = read_captions(options, index)
    identity = options.identity
    if (joint_map := options.reading.joint_map) is not None:
        load_joint_map(joint_map, options.form)
        if Path(joint_map).is_file():
            identity["joint_map"] = f"{joint_map} ({file_hash(joint_map)})"
    job = Preparation(
        motions=Path(options.motion_dir),
        captions=captions,
        index=index,
        out=Path(options.out),
        clips=options.clip_settings,
        splits=options.split_settings,
        max_frames=options.frames[1],
        bodies=read_bodies(options.body_model),
        identity=identity,
        command=command,
        workers=options.workers,
        restart=options.restart,
        share=options.share,
        merge=options.merge,
    )
    outcome = prepare(job)
    if not job.share.whole:
        print(
            f"{job.out}: shard {job.share} ({job.share.source}) has {len(outcome.taken):,} clips, {outcome.made_now:,}"
            " made now; --merge makes the dataset of all shards"
        )
        return 0
    sheet = bool(outcome.taken and options.contact_sheet)
    if sheet:
        draw_contact_sheet(outcome, options.contact_sheet)
    report = report_of(outcome, command)
    write_json(outcome.out / "report.json", report)
    with atomic_path(outcome.out / "report.md") as temporary:
        temporary.write_text(markdown(report, sheet), encoding="utf-8")
    if not outcome.taken:
        first = outcome.refused[0]
        raise UserError(
            f"no clip could be prepared: {len(outcome.refused)} refused, the first is {first.file or first.name} "
            f"({first.reason}); see {outcome.out / 'report.md'}"
        )
    print_summary(outcome, report)
    return 1 if outcome.refused else 0


def read_captions(options: PrepareOptions, index: Index | None = None) -> CaptionSet:
    """All captions that the options name, of the clips of an index if there is one.

    Raises:
        UserError: a folder or file is missing or unreadable.
    """
    found = CaptionSet(None if index is None else index.names)
    if options.text_dir is not None:
        path = Path(options.text_dir)
        (found.read_table if path.is_file() else found.read_folder)(path)
    if options.captions is not None:
        found.read_table(Path(options.captions))
    return found


def draw_contact_sheet(outcome: Outcome, count: int) -> None:
    """`contact_sheet.png`: some clips, evenly among all, each as ghosted poses with its first caption."""
    places = np.unique(np.linspace(0, len(outcome.taken) - 1, min(count, len(outcome.taken))).round().astype(int))
    records = [outcome.taken[place] for place in places]
    columns = min(COLUMNS, len(records))
    rows = -(-len(records) // columns)
    sheet = Image.new("RGB", (columns * TILE[0], rows * TILE[1]), "white")
    with tempfile.TemporaryDirectory() as folder:
        for number, record in enumerate(records):
            joints = read_array(outcome.out / "new_joints" / f"{record.name}.npy")
            tile = render_sequence(
                Path(folder) / "tile.png",
                joints,
                outcome.settings.fps,
                f"{record.name}: {outcome.captions[record.name][0].text}",
                outcome.settings.form,
                size=TILE,
                poses=POSES,
            )
            with Image.open(tile) as picture:
                sheet.paste(picture, (number % columns * TILE[0], number // columns * TILE[1]))
    with atomic_path(outcome.out / "contact_sheet.png") as temporary:
        sheet.save(temporary)


def print_summary(outcome: Outcome, report: dict) -> None:
    """What was made, in a few lines."""
    shares = ", ".join(f"{split} {len(ids):,}" for split, ids in outcome.splits.items())
    clips = sum(len(ids) for ids in outcome.splits.values())
    maps = ", ".join(name for name in report["sources"]["joint_maps"] if name)
    found = [f"joint map {maps}"] if maps else []
    found += [f"unit {', '.join(report['sources']['units'])}"]
    found += [f"up {', '.join(sorted(set(dict(outcome.settings.up).values())) or ['y'])}"]
    print(f"found: {', '.join(found)}")
    print(f"{outcome.out}: {clips:,} clips ({shares}), {report['hours']:.2f} hours, {outcome.made_now:,} made now")
    if (few := len(outcome.splits["val"])) < FEW:
        there = f"val has {few or 'no'} clip{'s' * (few != 1)}"
        print(f"note: {there}; trainings choose checkpoints by it, or of too few keep the last: see --split")
    if report["longer_than_max_frames"]:
        print(f"note: {long_clips(report)}")
    if outcome.refused:
        groups = Counter(group_of(each.reason) for each in outcome.refused).most_common()
        print(f"refused: {listed([f'{group} {count:,}' for group, count in groups], ', ', 4)}")
    noted = [f"{len(outcome.refused):,} refused"] if outcome.refused else []
    noted += [f"{len(outcome.remarks):,} remark{'s' * (len(outcome.remarks) > 1)}"] if outcome.remarks else []
    if noted:
        print(f"{', '.join(noted)}: see {outcome.out / 'report.md'}")
