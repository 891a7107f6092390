"""Data files, and settings: motions, captions, prompts, splits, statistics, maps, formats, configs, command lines."""

from __future__ import annotations

import contextlib
import io
import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from data.check.folder import check_folder
from data.clips import load_split, load_statistics
from data.motions.folder import demo_sample
from data.motions.joint_maps import load_joint_map
from data.motions.reader import MotionReader
from data.prepare.captions import CaptionSet
from data.prepare.clip import Record
from data.prepare.index import find_takes, read_index
from data.prepare.journal import Journal
from data.prepare.splits import read_splits
from data.specs import DatasetSpec, get_spec
from options.command_line import parse
from options.demo import DemoOptions
from options.evaluation import EvalResOptions
from options.render import parse_render_options
from options.stages import (
    EvaluatorOptions,
    LengthOptions,
    MaskedOptions,
    ResidualOptions,
    RetrieverOptions,
    VQOptions,
    run_config,
)
from pipeline.prompts import read_requests
from storage.files import read_bytes, write_json
from tests.data.prepare.bodies import SKELETON, walking_body
from tests.fuzz import motion_kinds
from tests.fuzz.kinds import Kind
from tests.fuzz.mutations import JSON, NPY, TEXT
from tests.own_skeleton import content as studio
from utils.errors import UserError
from utils.formats import read_format
from utils.representation import canonicalize, feature_statistics, joints_to_features
from utils.run import LibraryFacts, Run, TokenShape

STAGES = (VQOptions, MaskedOptions, ResidualOptions, LengthOptions, RetrieverOptions, EvaluatorOptions)
LINES = "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0\nsomeone turns#someone/PRON turn/VERB#0.5#2.75\n"


# Datasets


def _crops(folder: Path) -> list[Path]:
    rows = ["CMU/01/01_01_poses.npy,0,20,000001.npy", "KIT/3/a.npy,0,9,000002.npy"]
    rows += ["CMU/18_19_rory/18_02_poses.npy,4,-1,000003.npy"]
    header = "source_path,start_frame,end_frame,new_name"
    (folder / "index.csv").write_text("\n".join([header, *(f"./pose_data/{row}" for row in rows)]) + "\n")
    (folder / "01_01.amc").touch()
    return [folder / "index.csv"]


def _use_crops(path: Path) -> object:
    sources, refused = find_takes(read_index(path), path.parent)
    if len(refused) > 1:
        raise UserError(refused[0].reason)
    return [source.fingerprint for source in sources]


def _dataset(folder: Path, wanted: str) -> list[Path]:
    form, rows = SKELETON, []
    for name in ("new_joint_vecs", "new_joints", "texts"):
        (folder / name).mkdir()
    for number in range(4):
        joints = canonicalize(walking_body(2.5, seed=number).joints(), form)
        rows.append(joints_to_features(joints, form).astype(np.float32))
        np.save(folder / "new_joint_vecs" / f"{number:06d}.npy", rows[-1])
        np.save(folder / "new_joints" / f"{number:06d}.npy", joints.astype(np.float32))
        (folder / "texts" / f"{number:06d}.txt").write_text(LINES)
    for name, values in zip(("Mean", "Std"), feature_statistics(rows, form), strict=True):
        np.save(folder / f"{name}.npy", values)
    for split, ids in (("train", "000000\n000001\n"), ("val", "000002\n"), ("test", "000003\n")):
        (folder / f"{split}.txt").write_text(ids)
    write_json(folder / "dataset.json", {"fps": 20, "joints": "humanml3d", "min_frames": 40, "max_frames": 196})
    return [folder / wanted]


def _root(path: Path) -> Path:
    return path if (path / "dataset.json").is_file() else _root(path.parent)


def _open_dataset(path: Path, whole: bool = True) -> object:
    """As a training and the check of the folder do; the check finds faults in what a training skips."""
    spec: DatasetSpec = get_spec(str(_root(path.parent)))
    report = check_folder(spec)
    load_statistics(spec)
    clips = load_split(spec, "train", windows=True)
    loaded = [np.asarray(clip.features) for clip in clips]
    if report.problems:
        raise UserError("the check finds problems")
    return loaded


def _description(path: Path) -> object:
    spec = get_spec(str(path.parent))
    return spec.format.grid_columns, spec.format.part_columns, spec.max_clip_frames


def _caption_folder(folder: Path) -> list[Path]:
    (folder / "a.txt").write_text("a person walks\nhe turns#1.5#2\n" + LINES)
    return [folder / "a.txt"]


def _prepare_captions(path: Path) -> object:
    captions = CaptionSet()
    captions.read_folder(path.parent)
    if captions.refused:
        raise UserError(captions.refused[0].reason)
    return captions


def _caption_tables(folder: Path) -> list[Path]:
    rows = [("a", "a person walks", 0, 0), ("b", 'someone, who "turns"', 0.5, 2)]
    quoted = ['{},"{}",{},{}'.format(name, text.replace('"', '""'), *times) for name, text, *times in rows]
    (folder / "a.csv").write_text("\n".join(["name,caption,start,end", *quoted]) + "\n")
    write_json(folder / "b.json", [dict(zip(("name", "caption", "start", "end"), row, strict=True)) for row in rows])
    write_json(folder / "c.json", {"a": ["a person walks", {"caption": "he turns", "start": 1}], "b": "someone jumps"})
    return [folder / "a.csv", folder / "b.json", folder / "c.json"]


def _prepare_table(path: Path) -> object:
    captions = CaptionSet()
    captions.read_table(path)
    if captions.refused:
        raise UserError(captions.refused[0].reason)
    return captions


def _splits(folder: Path) -> list[Path]:
    for split in ("train", "val", "test"):
        (folder / f"{split}.txt").write_text(f"{split}_one\n{split}_two\n")
    return [folder / "train.txt"]


def _journal(folder: Path) -> list[Path]:
    with Journal(folder / "out").opened({"fps": 20, "windows": False}, False) as journal:
        journal.remembered_axes({"bvh": "z"})
        journal.add(Record("a", "a.bvh", "1-2", ids=("a", "Ma"), frames=49, remarks=("odd",)))
        journal.add(Record("b", "b.bvh", "1-2", reason="too short"))
    return [folder / "out" / ".preparation" / name for name in ("settings.json", "axes.json", "records.jsonl")]


def _go_on(path: Path) -> object:
    with Journal(path.parents[1]).opened({"fps": 20, "windows": False}, False) as journal:
        journal.remembered_axes({"bvh": "z", "smpl": "y"})
        journal.is_done("a", "1-2")
        journal.remove({"a"})
        journal.compact()
        return [asdict(record) for record in journal.records.values()]


# Settings


def _prompts(folder: Path) -> list[Path]:
    (folder / "a.txt").write_text(
        "# mine\na person walks\nhe turns=80\nshe jumps#60\na #1 fan waves#NA\nrun = 40 # slow\n"
    )
    return [folder / "a.txt"]


def _map(folder: Path) -> list[Path]:
    joints: dict[str, object] = {name: name.upper() for name in SKELETON.joint_names}
    joints["spine1"] = {"PELVIS": 0.5, "SPINE2": 0.5}
    write_json(folder / "map.json", {"about": "mine", "skip_frames": 1, "joints": joints})
    return [folder / "map.json"]


def _use_map(path: Path) -> object:
    joint_map = load_joint_map(str(path), SKELETON)
    names = tuple(name.upper() for name in SKELETON.joint_names)
    return joint_map.apply(names, np.zeros((2, 22, 3)))


def _format(folder: Path) -> list[Path]:
    write_json(folder / "studio.json", studio())
    write_json(folder / "own.json", SKELETON.to_json())
    return [folder / "studio.json", folder / "own.json"]


def _use_format(path: Path) -> object:
    form = read_format(path)
    return form.grid_columns, form.grid_cells, form.part_columns, form.rest_directions, form.to_json()


def _configs(folder: Path) -> list[Path]:
    paths = []
    for stage in STAGES:
        extra = {"tokens": {"nb_code": 8, "n_parts": 6, "num_quantizers": 2, "vq_hash": "x", "code_dim": 4}}
        extra["library"] = {"retriever_hash": "x", "motions": 2, "captions": 3}
        paths.append(folder / stage.stage / "config.json")
        write_json(paths[-1], run_config(stage()) | extra)
    return paths


def _use_config(path: Path) -> object:
    run = Run(path.parent)
    stage = next((each for each in STAGES if each.stage == run.stage), VQOptions)
    default = stage()
    sections = [run.section(name, type(value)) for name, value in vars(default).items()]
    sections += [run.section("tokens", TokenShape), run.section("library", LibraryFacts)]
    return sections, run.format, run.tokens, run.library, run.text_encoder


def _index(folder: Path) -> list[Path]:
    (folder / "00_walk").mkdir()
    np.save(folder / "00_walk" / "joints.npy", np.zeros((4, 22, 3), np.float32))
    retrieved = [{"motion_id": "a", "caption": "a person walks", "score": 0.5}]
    sample = {"prompt": "walk", "seed": 1, "motion_length": 4, "fps": 20.0, "retrieved": retrieved}
    sample["files"] = {"joints": "00_walk/joints.npy"}
    write_json(folder / "result.json", {"settings": {}, "format": "humanml3d", "samples": [sample]})
    return [folder / "result.json"]


def _use_index(path: Path) -> object:
    from pipeline.motions import read_motion_folder  # noqa: PLC0415 - the door of exports and renderings

    sample = demo_sample(path.parent / "00_walk" / "joints.npy")
    with contextlib.suppress(UserError):
        read_motion_folder(path.parent, MotionReader())
    return sample


def _render_settings(folder: Path) -> list[Path]:
    (folder / "a.yaml").write_text("# mine\ndir: motions\nmode: video\nwidth: 960\nfps: 20\ndenoise: true\nout: null\n")
    return [folder / "a.yaml"]


def _arguments(folder: Path) -> list[Path]:
    words = ["--text_prompt=a person walks", "--motion_length=80", "--seed=3", "--cond_scale=2.5", "--formats", "npy"]
    (folder / "demo.args").write_text("\n".join([*words, "--repeat_times=2", "--dataset_name=mini", "--gpu_id=-1"]))
    (folder / "eval.args").write_text(
        "--mtrans_name=a\n--repeat_times=2\n--sweep_time_steps\n1\n5\n--which_epoch=fid\n"
    )
    (folder / "train.args").write_text(
        "--latent_dim=96\n--n_heads=4\n--lr=1e-4\n--milestones\n10\n20\n--betas\n.9\n.99\n"
    )
    return [folder / "demo.args", folder / "eval.args", folder / "train.args"]


def _use_arguments(path: Path) -> object:
    words = [os.fsdecode(word) for word in read_bytes(path).replace(b"\0", b"").split(b"\n")]
    schema = {"demo": DemoOptions, "eval": EvalResOptions, "train": MaskedOptions}[path.stem]
    options = _parsed(partial(parse, schema, [word for word in words if word and word not in ("-h", "--help")]))
    if isinstance(options, DemoOptions):
        lengths = options.motion_length, options.repeat_times, options.seed
        return read_requests(options.text_prompt, options.text_path, *lengths)
    return json.dumps(asdict(options), ensure_ascii=False).encode()


def _parsed(read: partial) -> object:
    """What a command line means; its exit with one line is a refusal."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return read()
    except SystemExit as error:
        if error.code != 2:
            raise RuntimeError(f"exit code {error.code}") from error
        raise UserError(said.getvalue().strip().removesuffix("(see --help)")) from None


KINDS = (
    *motion_kinds.KINDS,
    Kind("features", partial(_dataset, wanted="new_joint_vecs/000000.npy"), _open_dataset, NPY, 2),
    Kind("statistics", partial(_dataset, wanted="Std.npy"), _open_dataset, NPY),
    Kind("captions", partial(_dataset, wanted="texts/000001.txt"), _open_dataset, TEXT, 3),
    Kind("split", partial(_dataset, wanted="train.txt"), _open_dataset, TEXT, 2),
    Kind("dataset.json", partial(_dataset, wanted="dataset.json"), _description, JSON, 2),
    Kind("own captions", _caption_folder, _prepare_captions, TEXT, 2),
    Kind("caption table", _caption_tables, _prepare_table, TEXT + JSON, 4),
    Kind("humanml3d index", _crops, _use_crops, TEXT),
    Kind("own splits", _splits, lambda path: read_splits(path.parent), TEXT),
    Kind("journal", _journal, _go_on, TEXT + JSON, 2),
    Kind("prompts", _prompts, lambda path: read_requests(None, str(path), 0, 2, 0), TEXT, 3),
    Kind("joint map", _map, _use_map, JSON, 2),
    Kind("format", _format, _use_format, JSON, 3),
    Kind("config.json", _configs, _use_config, JSON, 5),
    Kind("result.json", _index, _use_index, JSON, 2),
    Kind(
        "render cfg", _render_settings, lambda path: _parsed(partial(parse_render_options, [f"--cfg={path}"])), TEXT, 2
    ),
    Kind("arguments", _arguments, _use_arguments, TEXT, 3),
)
