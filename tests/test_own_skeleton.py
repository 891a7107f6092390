"""A skeleton of one's own is one JSON file: every command works with it, and refuses what is of another format."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.motions.reader import MotionReader
from data.motions.settings import ReadSettings
from data.motions.smpl import BodyShape
from data.specs import SPLITS, get_spec
from pipeline.runs import Runs
from storage.files import read_json, write_json
from tests.data.prepare.bodies import write_bvh
from tests.own_skeleton import STUDIO, body, content, write_studio
from utils.bvh import read_bvh
from utils.errors import UserError
from utils.formats import HUMANML3D, format_of, get_format
from utils.motion_format import MotionFormat

ROOT = Path(__file__).parents[1]
N_CLIPS = 8
EVERY_FORMAT = ("mp4", "png", "bvh", "glb", "html")


def run(script: str, *flags: object) -> int:
    """The exit code of a script, or of a module, with these flags; as on the command line, but in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *map(str, flags)])
        with pytest.raises(SystemExit) as end:
            if script.endswith(".py"):
                runpy.run_path(str(ROOT / script), run_name="__main__")
            else:
                runpy.run_module(script, run_name="__main__")
    return end.value.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of the own skeleton, and a run of every stage of one step."""
    folder = tmp_path_factory.mktemp("studio")
    form = write_studio(folder, N_CLIPS)
    prepared = ["--motion_dir", folder / "motions", "--text_dir", folder / "texts", "--out", folder / "set"]
    prepared += ["--format", form, "--mirror", "--workers", "1", "--split", "0.5,0.25,0.25"]
    assert run("prepare_dataset.py", *prepared) == 0
    places = ["--dataset_name", folder / "set", "--checkpoints_dir", folder / "logs", "--gpu_id", "-1"]
    tiny = ["--preset", "mini", *places, "--max_steps", "1", "--batch_size", "4", "--num_workers", "0"]
    library = ["--database", folder / "database"]
    assert run("train_evaluator.py", *tiny, "--name", "evaluator") == 0
    assert run("Part_TMR.scripts.train", *tiny, "--name", "tmr") == 0
    assert run("train_vq.py", *tiny, "--name", "vq", "--width", "32") == 0
    built = [*places, "--name", "tmr", "--vq_name", "vq", "--output", folder / "database"]
    assert run("build_rag_database.py", *built) == 0
    layers = ["--latent_dim", "64", "--n_layers", "1"]
    assert run("train_mask_transformer.py", *tiny, *library, *layers, "--name", "mtrans", "--vq_name", "vq") == 0
    assert run("train_res_transformer.py", *tiny, *library, *layers, "--name", "rtrans", "--vq_name", "vq") == 0
    assert run("train_length_estimator.py", *tiny, "--name", "length") == 0
    return folder


def places(folder: Path) -> list[object]:
    return ["--dataset_name", folder / "set", "--checkpoints_dir", folder / "logs", "--gpu_id", "-1"]


def test_the_dataset_is_of_the_own_format(folder: Path) -> None:
    """Found with its format; joints keep the skeleton's bones; nothing is wrong with it."""
    spec = get_spec(str(folder / "set"))
    assert spec.format == STUDIO and (spec.min_frames, spec.max_frames) == (60, 292)
    joints = np.load(folder / "set" / "new_joints" / "clip0.npy")
    bones = np.linalg.norm(joints[:, 1:] - joints[:, list(STUDIO.parents[1:])], axis=-1)
    np.testing.assert_allclose(bones, np.broadcast_to(STUDIO.bone_lengths[1:], bones.shape), atol=1e-5)
    assert run("data.check", "--dataset_name", folder / "set") == 0
    for run_folder in (folder / "logs" / "set").iterdir():
        told = read_json(run_folder / "config.json").get("format")
        assert told is None or format_of(told, "config") == STUDIO
    assert format_of(read_json(folder / "database" / "set" / "manifest.json")["format"], "manifest") == STUDIO


def test_motions_are_generated_and_leave_in_every_format(folder: Path, tmp_path: Path) -> None:
    """What the demo writes says whose joints it holds, so that export needs no word; names are the format's own."""
    demo = ["--text_prompt", "a man walks", "--motion_length", "60", "--repeat_times", "2", "--ext", "a"]
    demo += ["--output_dir", tmp_path, "--database", folder / "database", "--formats", *EVERY_FORMAT, "npy"]
    assert run("demo.py", *places(folder), *demo, "--foot_lock", "--compare", "html") == 0
    index = read_json(tmp_path / "a" / "result.json")
    assert format_of(index["format"], "index") == STUDIO
    files = index["samples"][0]["files"]
    assert np.load(tmp_path / "a" / files["joints"]).shape == (60, 24, 3)
    assert set(STUDIO.joint_names) == set(read_bvh(tmp_path / "a" / files["bvh"]).names)
    exported = ["--dir", tmp_path / "a", "--out", tmp_path / "files", "--formats", "bvh"]
    assert run("visualization.export", *exported) == 0
    again = ["--dir", tmp_path / "files", "--out", tmp_path / "again", "--formats", "glb"]
    assert run("visualization.export", *again, "--joint_type", folder / "studio.json") == 0


def test_the_page_makes_a_motion(folder: Path) -> None:
    from options.app import AppOptions
    from pipeline.app.results import ResultStore
    from pipeline.app.session import AppSession
    from pipeline.text_to_motion import TextToMotion

    t2m = TextToMotion.load(folder / "logs", str(folder / "set"), database=folder / "database")
    wanted = {"prompt": "a man walks", "motion_length": 60, "seed": 0, "cond_scale": 1.0, "time_steps": 1, "motions": 1}
    with ResultStore(60, 2) as store:
        result = AppSession(t2m, AppOptions(), store).generate(**wanted, retrieval=True)
        joints = np.load(store.path(result.token, "joints.npy"))
    assert result.frames == (60,) and joints.shape == (60, 24, 3)


def test_evaluation_and_search_and_added_clips(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "database", tmp_path / "database")
    write_bvh(tmp_path / "bow.bvh", body(2.5, seed=N_CLIPS), 30)
    added = ["--name", "tmr", "--output", tmp_path / "database", "--add", tmp_path / "bow.bvh"]
    assert run("build_rag_database.py", *places(folder), *added, "--caption", "a man bows") == 0
    found = ["--database", tmp_path / "database", "--motion", tmp_path / "bow.bvh", "--k", "1"]
    assert run("Part_TMR.scripts.search", *places(folder), *found, "--json", tmp_path / "found.json") == 0
    assert read_json(tmp_path / "found.json")["found"][0]["id"] == "bow"
    once = ["--repeat_times", "1", "--ext", "eval"]
    assert run("eval_vq.py", *places(folder), *once, "--name", "vq") == 0
    both = ["--mtrans_name", "mtrans", "--rtrans_name", "rtrans", "--time_steps", "1", "--mm_captions", "0"]
    assert run("eval_res.py", *places(folder), *once, *both, "--database", folder / "database") == 0


def other(folder: Path, tmp_path: Path) -> Path:
    """The same dataset, which calls itself one of 25 frames a second."""
    shutil.copytree(folder / "set", tmp_path / "set", ignore=shutil.ignore_patterns("cache", "format.json"))
    write_json(tmp_path / "set" / "format.json", content() | {"fps": 25.0})
    described = read_json(tmp_path / "set" / "dataset.json") | {"fps": 25.0}
    write_json(tmp_path / "set" / "dataset.json", described)
    return tmp_path / "set"


def refused(capsys: pytest.CaptureFixture[str], script: str, *flags: object) -> str:
    """The one line of an error."""
    capsys.readouterr()
    assert run(script, *flags) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_another_format_is_refused_at_every_door(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs, a library and an evaluator at 30 frames a second; a dataset at 25."""
    elsewhere = other(folder, tmp_path)
    used = ["--dataset_name", elsewhere, "--checkpoints_dir", folder / "logs", "--gpu_id", "-1"]
    library = ["--database", folder / "database"]
    tiny = ["--preset", "mini", *used, "--max_steps", "1", "--batch_size", "4"]
    prompt = ["--text_prompt", "a man walks", "--output_dir", tmp_path / "out"]
    doors = {
        "demo.py": [*used, *library, *prompt],
        "eval_vq.py": [*used, "--name", "vq"],
        "eval_res.py": [*used, *library, "--mtrans_name", "mtrans", "--rtrans_name", "rtrans"],
        "train_mask_transformer.py": [*tiny, *library, "--name", "new", "--vq_name", "vq"],
        "train_vq.py": [*tiny, "--name", "new", "--init_from", folder / "logs" / "set" / "vq"],
        "Part_TMR.scripts.search": [*used, *library, "--text", "a man walks"],
        "Part_TMR.scripts.test": [*used, "--name", "tmr"],
        "build_rag_database.py": [*used, "--name", "tmr", "--output", tmp_path / "database"],
    }
    for script, flags in doors.items():
        line = refused(capsys, script, *flags)
        assert "fps" in line and "30" in line and "25" in line, (script, line)
    database = read_json(folder / "database" / "set" / "manifest.json")
    shutil.copytree(folder / "database", tmp_path / "library")
    database["format"]["fps"] = 25.0
    (tmp_path / "library" / "set" / "manifest.json").write_text(json.dumps(database))
    line = refused(capsys, "demo.py", *places(folder), "--database", tmp_path / "library", *prompt)
    assert "fps" in line and "library" in line
    assert not (tmp_path / "out").exists() and not (folder / "logs" / "set" / "new").exists()


def test_former_runs_have_the_rate_of_their_dataset(tmp_path: Path) -> None:
    """They named a layout, or nothing but their dataset, and may have been trained at any rate."""
    spec = replace(get_spec("mini"), format=replace(HUMANML3D, fps=30.0))
    for name, config in {"vq": {"model": {"layout": "humanml3d"}}, "mtrans": {"run": {"dataset_name": "mini"}}}.items():
        write_json(tmp_path / "mini" / name / "config.json", {"stage": name} | config)
        assert Runs(tmp_path, spec).open(name).format == HUMANML3D
    write_json(tmp_path / "mini" / "new" / "config.json", {"stage": "vq", "format": HUMANML3D.to_json()})
    with pytest.raises(UserError, match="fps 20, not 30"):
        Runs(tmp_path, spec).open("new")
    write_json(tmp_path / "mini" / "kit" / "config.json", {"stage": "vq", "model": {"layout": "kit"}})
    with pytest.raises(UserError, match="21 joints, not 22"):
        Runs(tmp_path, spec).open("kit")


def test_motions_of_another_skeleton_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = folder / "motions" / "clip0.bvh"
    np.save(tmp_path / "joints.npy", np.zeros((50, 22, 3)))
    added = ["--name", "tmr", "--output", folder / "database", "--caption", "a man bows"]
    line = refused(capsys, "build_rag_database.py", *places(folder), *added, "--add", tmp_path / "joints.npy")
    assert "24" in line and "joints.npy" in line
    line = refused(capsys, "visualization.export", "--dir", clip.parent, "--out", tmp_path / "out")
    assert "clip0.bvh" in line and "joint map" in line
    bones = {**content(), "joints": [*content()["joints"], {"name": "Tail", "parent": "Hips", "offset": [0, 0, -0.1]}]}
    bones["parts"] = {**bones["parts"], "tail": ["Tail"]}
    write_json(tmp_path / "tail.json", bones)
    shown = ["--dir", clip.parent, "--out", tmp_path / "out", "--joint_type", tmp_path / "tail.json"]
    assert "Tail" in refused(capsys, "visualization.export", *shown)


def test_smpl_poses_reach_an_own_skeleton_by_a_joint_map(tmp_path: Path) -> None:
    """SMPL has joints of other names and no hands' roots: a map names them, and what it names twice keeps its rest."""
    bodies = {"neutral": BodyShape(standing(HUMANML3D), np.zeros((22, 3, 1)))}
    way = np.stack([np.zeros(40), np.full(40, 0.95), np.linspace(0, 1, 40)], axis=-1)
    np.savez(tmp_path / "a.npz", poses=np.zeros((40, 66)), trans=way, mocap_framerate=30.0)
    with pytest.raises(UserError, match="the format studio has Chest, Crown, .*give --joint_map"):
        MotionReader(form=STUDIO, bodies=bodies).read(tmp_path / "a.npz")
    twins = {"UpLeg": "hip", "Leg": "knee", "Foot": "ankle", "ToeBase": "foot", "Shoulder": "collar", "Arm": "shoulder",
             "ForeArm": "elbow", "Hand": "wrist", "HandRoot": "wrist"}  # fmt: skip
    joints = {"Hips": "pelvis", "Spine": "spine1", "Chest": "spine3", "Neck": "neck", "Head": "head", "Crown": "head"}
    joints |= {side + own: f"{side.lower()}_{name}" for side in ("Left", "Right") for own, name in twins.items()}
    write_json(tmp_path / "map.json", {"joints": joints})
    settings = ReadSettings(joint_map=str(tmp_path / "map.json"))
    motion = MotionReader(settings, form=STUDIO, bodies=bodies).read(tmp_path / "a.npz")
    assert motion.joints.shape == (40, 24, 3) and "LeftHandRoot" in motion.remarks[0]
    hand = motion.joints[:, STUDIO.joint_names.index("LeftHandRoot")]
    forward = hand - motion.joints[:, STUDIO.joint_names.index("LeftHand")]
    assert (forward[:, 0] > 0.05).all() and np.abs(forward[:, 1:]).max() < 1e-6


def test_kit_is_a_target_too(tmp_path: Path) -> None:
    kit = get_format("kit")
    (tmp_path / "in").mkdir()
    for seed in range(3):
        joints = np.repeat(standing(kit)[None], 60, axis=0)
        joints[..., 2] += np.linspace(0, 1 + seed, 60)[:, None]
        np.save(tmp_path / "in" / f"clip{seed}.npy", joints)
        (tmp_path / "in" / f"clip{seed}.txt").write_text("a man glides\n")
        (tmp_path / f"{SPLITS[seed]}.txt").write_text(f"clip{seed}\n")
    prepared = ["--motion_dir", tmp_path / "in", "--text_dir", tmp_path / "in", "--out", tmp_path / "set"]
    assert run("prepare_dataset.py", *prepared, "--format", "kit", "--workers", "1", "--split_dir", tmp_path) == 0
    assert read_json(tmp_path / "set" / "dataset.json")["joints"] == "kit"
    spec = get_spec(str(tmp_path / "set"))
    assert spec.format == kit and np.load(spec.features_dir / "clip0.npy").shape == (59, 251)
    assert run("data.check", "--dataset_name", tmp_path / "set") == 0


def standing(form: MotionFormat) -> np.ndarray:
    """(J, 3) the rest pose on the floor."""
    joints = np.zeros((form.n_joints, 3))
    for joint, parent in enumerate(form.parents[1:], start=1):
        joints[joint] = joints[parent] + form.rest_directions[joint] * form.bone_lengths[joint]
    return joints - [0, joints[:, 1].min(), 0]
