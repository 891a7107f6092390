"""The preparation as a whole: good clips in, bad clips named, interrupted runs continued, settings kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import data.prepare.run as run_module
from data.check.folder import check_folder
from data.clips import load_split, load_statistics, read_captions
from data.datasets import MotionTextDataset, WindowDataset
from data.prepare.clip import make_clip
from data.specs import get_spec
from options.command_line import parse
from options.prepare import PrepareOptions
from pipeline.preparation import prepare_dataset
from tests.data.prepare.bodies import named_like, walking_body, write_bvh
from utils.errors import UserError
from utils.formats import get_format
from utils.mirror import mirror_joints
from utils.representation import canonicalize, features_to_joints

N_CLIPS = 6


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Six good clips as joints, BVH in metres and BVH in centimetres, each with a caption that names a side."""
    folder = tmp_path / "in"
    (folder / "texts").mkdir(parents=True)
    for number in range(N_CLIPS):
        body = walking_body(2.5, seed=number, speed=0.5 + 0.2 * number)
        name = f"clip{number}_part{number % 2}"
        if number < 2:
            (folder / "motions").mkdir(exist_ok=True)
            np.save(folder / "motions" / f"{name}.npy", body.joints().astype(np.float32))
        else:
            metres = 0.01 if number % 2 else 1.0
            write_bvh(folder / "motions" / f"{name}.bvh", named_like(body, "mixamo"), 20, metres=metres)
        (folder / "texts" / f"{name}.txt").write_text(f"a man raises his left hand {number} times\nhe walks\n")
    return folder


def run(sources: Path, out: Path, *flags: str) -> int:
    arguments = ["--motion_dir", sources / "motions", "--text_dir", sources / "texts", "--out", out, "--workers", "1"]
    arguments += ["--contact_sheet", "0", *flags]
    return prepare_dataset(parse(PrepareOptions, [str(word) for word in arguments]))


def content(out: Path) -> dict[str, bytes]:
    """All files of a dataset but the reports and the journal."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".preparation" not in path.parts and not path.name.startswith(("report", "dataset.json"))
    }


def test_dataset_is_one_for_every_other_command(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found by path and by name; loaders take it; statistics are of the train split; joints belong to features."""
    out = tmp_path / "dataset" / "mine"
    assert run(sources, out) == 0
    assert "joint map mixamo" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    spec = get_spec("mine")
    assert spec == get_spec("dataset/mine") and (spec.name, spec.format.fps, spec.min_frames) == ("mine", 20.0, 40)
    clips = {split: load_split(spec, split) for split in ("train", "val", "test")}
    assert sum(map(len, clips.values())) == N_CLIPS and all(clips.values())
    assert all(len(clip.captions) == 2 for members in clips.values() for clip in members)
    MotionTextDataset(clips["train"])[0], WindowDataset(clips["train"], 32)[0]
    rows = [np.load(spec.features_dir / f"{clip.id}.npy") for clip in clips["train"]]
    mean, std = load_statistics(spec)
    together = np.concatenate(rows).astype(np.float64)
    np.testing.assert_allclose(mean, together.mean(axis=0), atol=1e-6)
    positions = get_format("humanml3d").positions
    np.testing.assert_allclose(std[positions], together[:, positions].std(axis=0).mean(), rtol=1e-5)
    for clip, features in zip(clips["train"], rows, strict=True):
        joints = np.load(spec.joints_dir / f"{clip.id}.npy")
        np.testing.assert_allclose(features_to_joints(features), joints[:-1], atol=1e-4)
        assert joints.shape == (51, 22, 3) and joints[-1, 0, 2] > 0.8, "a walk goes forward"


def test_joints_and_bvh_agree(tmp_path: Path) -> None:
    """The same motion as positions and as rotations, in other units, at other rates, gives the same features."""
    for name, fps in (("joints", 30), ("bvh", 30), ("metres", 60)):
        folder = tmp_path / name / "motions"
        folder.mkdir(parents=True)
        body = walking_body(3.0, fps)
        if name == "joints":
            np.save(folder / "a.npy", body.joints())
        else:
            write_bvh(folder / "a.bvh", body, fps, metres=1.0 if name == "metres" else 0.01, all_positions=True)
        (tmp_path / name / "texts").mkdir()
        (tmp_path / name / "texts" / "a.txt").write_text("he walks")
        run(tmp_path / name, tmp_path / name / "out", "--source_fps", "30", "--split", "1,0,0")
    features = [np.load(tmp_path / name / "out" / "new_joint_vecs" / "a.npy") for name in ("joints", "bvh", "metres")]
    np.testing.assert_allclose(features[1], features[0], atol=2e-3)
    np.testing.assert_allclose(features[2], features[0], atol=1e-2)
    assert np.abs(features[1] - features[0]).mean() < 1e-4


def test_mirrored_copies(sources: Path, tmp_path: Path) -> None:
    """The copy is the mirrored motion with mirrored words, in the split of its original."""
    out = tmp_path / "out"
    assert run(sources, out, "--mirror") == 0
    spec = get_spec(str(out))
    for split in ("train", "val", "test"):
        names = spec.split_path(split).read_text().split()
        assert {name for name in names if name.startswith("M")} == {f"M{name}" for name in names if name[0] != "M"}
    for name in ("clip0_part0", "clip3_part1"):
        joints, other = (np.load(spec.joints_dir / f"{each}.npy") for each in (name, f"M{name}"))
        np.testing.assert_allclose(other, canonicalize(mirror_joints(joints)), atol=1e-6)
        captions = read_captions(spec.texts_dir / f"M{name}.txt")
        assert captions[0].text.startswith("a man raises his right hand") and "right/OTHER" in captions[0].tokens


def test_a_copy_never_replaces_a_clip(sources: Path, tmp_path: Path) -> None:
    np.save(sources / "motions" / "Mclip0_part0.npy", walking_body(2.5, seed=20).joints())
    (sources / "texts" / "Mclip0_part0.txt").write_text("he sits")
    out = tmp_path / "out"
    assert run(sources, out, "--mirror") == 0
    assert (out / "texts" / "Mclip0_part0.txt").read_text().startswith("he sits")
    assert {path.stem for path in (out / "texts").iterdir()} >= {"clip0_part0", "MMclip0_part0", "Mclip1_part1"}
    remark = "no mirrored copy: Mclip0_part0 is a clip of its own"
    assert {"name": "clip0_part0", "remark": remark} in json.loads((out / "report.json").read_text())["remarks"]


def test_bad_clips_are_named_and_good_ones_prepared(sources: Path, tmp_path: Path) -> None:
    motions, texts = sources / "motions", sources / "texts"
    good = walking_body(2.5, seed=9)
    text = (motions / "clip2_part0.bvh").read_text()
    (motions / "header.bvh").write_text(text[:700])
    (motions / "frames.bvh").write_text(text.replace("Frames:\t51", "Frames:\t52"))
    lines = text.splitlines()
    lines[-3] = "nan " + lines[-3].split(" ", 1)[1]
    (motions / "nan.bvh").write_text("\n".join(lines))
    write_bvh(motions / "joint.bvh", named_like(good, "mixamo"), 20)
    (motions / "joint.bvh").write_text((motions / "joint.bvh").read_text().replace("LeftForeArm", "Elbow"))
    np.save(motions / "short.npy", good.joints()[:20])
    jumping = good.joints()
    jumping[25:, :, 0] += 2
    np.save(motions / "jump.npy", jumping)
    growing = good.joints()
    growing[30:, 20] += 0.2
    np.save(motions / "grow.npy", growing)
    write_bvh(motions / "clip1_part1.bvh", walking_body(2.5, seed=12), 20)  # beside clip1_part1.npy
    np.save(motions / "again.npy", np.load(motions / "clip0_part0.npy"))
    np.save(motions / "silent.npy", good.joints() * 1.01)
    np.save(motions / "unsaid.npy", good.joints() * 1.02)
    np.save(motions / "umlaut.npy", walking_body(2.5, seed=8).joints())
    for name in ("header", "frames", "nan", "joint", "short", "jump", "grow", "again"):
        (texts / f"{name}.txt").write_text("he walks")
    (texts / "umlaut.txt").write_text("ein Mann läuft")
    (texts / "silent.txt").write_text("\n")
    (texts / "motionless.txt").write_text("he stands")
    with open(texts / "clip2_part0.txt", "a") as file:
        file.write("#x#0#0\n")
    out = tmp_path / "out"
    assert run(sources, out) == 1
    report = json.loads((out / "report.json").read_text())
    refused = {row["file"]: row["reason"] for row in report["refused"]}
    for file, words in {
        "header.bvh": "not a complete BVH file", "frames.bvh": "promises 52 frames", "nan.bvh": "holds nan",
        "joint.bvh": "lacks LeftForeArm", "short.npy": "too short", "jump.npy": "teleporting root: 2.0",
        "grow.npy": "bone lengths change: left_wrist", "clip1_part1.npy": "duplicate name",
        "clip0_part0.npy": "same motion as again", "silent.npy": "no caption: silent.txt: the caption file is empty",
        "unsaid.npy": "no caption: there is none",
    }.items():  # fmt: skip
        assert words in refused.pop(file), file
    assert not refused
    assert {"name": "", "remark": "caption for no motion: motionless"} in report["remarks"]
    lost = "caption left out: clip2_part0.txt line 3: the caption is empty"
    assert {"name": "clip2_part0", "remark": lost} in report["remarks"]
    assert report["captions"]["beyond_ascii"] == ["umlaut"]
    assert report["clips"] == {"taken": N_CLIPS + 1, "mirrored_copies": 0, "refused": 11}
    words = (out / "report.md").read_text()
    assert "grow.npy" in words and "motionless" in words and str(sources) not in words.partition("## Refused")[2]
    clips = [clip for split in ("train", "val", "test") for clip in load_split(get_spec(str(out)), split)]
    assert len(clips) == N_CLIPS + 1
    made = sorted(path.stem for path in (out / "new_joint_vecs").iterdir())
    assert made == sorted(clip.id for clip in clips), "refused clips leave no files"


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "motions").mkdir()
    (tmp_path / "texts").mkdir()
    np.save(tmp_path / "motions" / "a.npy", np.zeros((9, 22, 3)))
    (tmp_path / "texts" / "a.txt").write_text("he walks")
    with pytest.raises(
        UserError, match="no clip could be prepared: 1 refused, the first is a.npy .wrong size: all joints"
    ):
        run(tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "report.md").is_file() and not (tmp_path / "out" / "dataset.json").exists()


def test_interrupted_run_goes_on(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-way there is no dataset; the same command makes only the rest, and the result is that of one run."""
    made: list[str] = []

    def counting(job, **rest):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(job.source.name)
        return make_clip(job, **rest)

    monkeypatch.setattr(run_module, "make_clip", counting)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(sources, out)
    assert len(made) == 3 and not (out / "dataset.json").exists()
    with pytest.raises(UserError, match="needs a dataset.json"):
        get_spec(str(out))
    with open(out / ".preparation" / "records.jsonl", "a") as file:
        file.write('{"name": "cut o')
    done = set(made)
    made.append("")  # the fourth clip may be made now
    assert run(sources, out) == 0
    assert not done & set(made[4:]) and len(made) == 1 + N_CLIPS
    monkeypatch.undo()
    assert run(sources, tmp_path / "whole") == 0
    assert content(out) == content(tmp_path / "whole")


def test_only_what_changed_is_made_again(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    run(sources, out)
    made: list[str] = []

    def counting(job, **rest):
        made.append(job.source.name)
        return make_clip(job, **rest)

    monkeypatch.setattr(run_module, "make_clip", counting)
    before = content(out)
    assert run(sources, out) == 0 and not made and content(out) == before
    (sources / "texts" / "clip0_part0.txt").write_text("a woman sits\n")
    (sources / "motions" / "clip1_part1.npy").unlink()
    np.save(sources / "motions" / "new.npy", walking_body(2.5, seed=30).joints())
    (sources / "texts" / "new.txt").write_text("he turns")
    (out / "new_joints" / "clip3_part1.npy").unlink()
    assert run(sources, out) == 0
    assert sorted(made) == ["clip0_part0", "clip3_part1", "new"]
    assert not list(out.glob("*/clip1_part1.*"))
    assert run(sources, tmp_path / "fresh") == 0
    assert content(out) == content(tmp_path / "fresh")


def test_other_settings_are_refused(sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(sources, out)
    before = content(out)
    with pytest.raises(UserError, match="prepared with --fps 20.0, not 30.0: .*--restart"):
        run(sources, out, "--fps", "30")
    assert content(out) == before
    assert run(sources, out, "--fps", "30", "--min_frames", "40", "--restart") == 0
    assert get_spec(str(out)).format.fps == 30
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="was not made by prepare_dataset.py"):
        run(sources, tmp_path / "foreign", "--restart")
    assert (tmp_path / "foreign" / "thesis.txt").is_file()


def test_own_splits_are_obeyed(sources: Path, tmp_path: Path) -> None:
    names = [f"clip{number}_part{number % 2}" for number in range(N_CLIPS)]
    (tmp_path / "splits").mkdir()
    for split, members in {"train": names[:3], "val": names[3:4], "test": [names[4], "gone"]}.items():
        (tmp_path / "splits" / f"{split}.txt").write_text("\n".join(members))
    out = tmp_path / "out"
    assert run(sources, out, "--split_dir", str(tmp_path / "splits")) == 0
    assert (out / "train.txt").read_text().split() == names[:3] and (out / "test.txt").read_text().split() == [names[4]]
    remarks = json.loads((out / "report.json").read_text())["remarks"]
    assert {"name": names[5], "remark": "is in no split file"} in remarks
    assert {"name": "", "remark": "in a split file but not prepared: gone"} in remarks


def test_captions_of_parts(sources: Path, tmp_path: Path) -> None:
    """Times reach the loader; a caption that starts after the clip's end is dropped and remarked."""
    (sources / "texts" / "clip0_part0.txt").write_text("a##0.2#2.4\nb##7#9\n")
    (sources / "texts" / "clip1_part1.txt").write_text("c##8#9\n")
    out = tmp_path / "out"
    assert run(sources, out, "--split", "1,0,0", "--min_frames", "40") == 1
    clips = {clip.id: clip for clip in load_split(get_spec(str(out)), "train")}
    assert [caption.text for caption in clips["clip0_part0@0.2-2.4"].captions] == ["a"]
    report = json.loads((out / "report.json").read_text())
    assert "after the clip's end" in report["remarks"][0]["remark"]
    assert report["refused"][0]["reason"].startswith("no caption: a caption starts at 8 s")


def test_captions_of_parts_that_no_model_could_see(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ends beyond the clip are cut, parts that are too short left out; what is written passes the check."""
    (sources / "texts" / "clip0_part0.txt").write_text("a##0.1#9\nb##0#9\nc##0.5#0.6\nd##0.5#2.6\n")
    (sources / "texts" / "clip1_part1.txt").write_text("c##0.5#0.6\n")
    out = tmp_path / "out"
    assert run(sources, out, "--split", "0.6,0.2,0.2", "--min_frames", "36") == 1
    assert "1 refused, 3 remarks: see" in capsys.readouterr().out
    captions = [(row.text, row.start, row.end) for row in read_captions(out / "texts" / "clip0_part0.txt")]
    assert captions == [("a", 0.1, 2.5), ("b", 0, 0), ("d", 0.5, 2.5)]
    report = json.loads((out / "report.json").read_text())
    assert [row["remark"].partition(" s")[0] for row in report["remarks"]] == [
        "a caption ends at 9", "a caption ends at 9", "a caption of 0.5 to 0.6",
    ]  # fmt: skip
    reason = "no caption: a caption of 0.5 to 0.6 s is left out: 2 frames, --min_frames is 36"
    assert report["refused"] == [{"name": "clip1_part1", "file": "clip1_part1.npy", "reason": reason}]
    assert report["captions"]["count"] == 3 + 2 * (N_CLIPS - 2)
    checked = check_folder(get_spec(str(out)))
    assert not checked.problems and not checked.notes


def test_long_clips_stay_whole(sources: Path, tmp_path: Path) -> None:
    np.save(sources / "motions" / "clip0_part0.npy", walking_body(11.0, speed=0.1).joints())
    out = tmp_path / "out"
    assert run(sources, out, "--split", "1,0,0") == 0
    assert len(np.load(out / "new_joint_vecs" / "clip0_part0.npy")) == 220
    assert json.loads((out / "report.json").read_text())["longer_than_max_frames"] == ["clip0_part0"]
    kept = [clip.id for clip in load_split(get_spec(str(out)), "train", keep_long=True)]
    assert "clip0_part0" in kept


@pytest.mark.parametrize("text", ["he walks", "he walks##0.5#11", "he walks\nhe waves##1#4"])
def test_windows_make_every_split_usable(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Takes of 12 s: said and checked as they are; with --windows each split loads."""
    (tmp_path / "motions").mkdir()
    (tmp_path / "texts").mkdir()
    for number in range(4):
        np.save(tmp_path / "motions" / f"take{number}.npy", walking_body(12.0, seed=number, speed=0.2).joints())
        (tmp_path / "texts" / f"take{number}.txt").write_text(text)
    run(tmp_path, tmp_path / "whole", "--split", "0.5,0.25,0.25")
    assert "4 clips are longer than the 196 frames" in (said := capsys.readouterr().out) and "--windows" in said
    problems = check_folder(get_spec(str(tmp_path / "whole"))).problems
    assert ("unusable-split" in problems) == ("waves" not in text)
    assert run(tmp_path, tmp_path / "cut", "--split", "0.5,0.25,0.25", "--windows") == 0
    spec = get_spec(str(tmp_path / "cut"))
    report = check_folder(spec)
    assert not report.problems and not report.notes
    for split in ("train", "val", "test"):
        clips = load_split(spec, split, keep_long=split == "train")
        assert report.splits[split].captions == sum(len(clip.captions) for clip in clips)
        assert all(40 <= len(clip.features) <= 196 for clip in clips)
        spans = {clip.frames for clip in clips}
        assert max(last for _, last in spans) >= 216 and min(first for first, _ in spans) <= 10
        assert {clip.take for clip in clips} <= {clip.id.split("@")[0] for clip in clips}


def test_two_at_a_time_are_refused(sources: Path, tmp_path: Path) -> None:
    import fcntl

    out = tmp_path / "out"
    run(sources, out)
    with open(out / ".preparation" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is preparing"):
            run(sources, out)
