"""The check of dataset folders: a good folder passes, and every kind of damage is named for what it is."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.check import folder as checking
from data.check.folder import check_folder
from data.check.report import KINDS, Report, format_report
from data.specs import DatasetSpec, get_spec, moved
from storage import row_store
from utils.errors import UserError, run_script
from utils.formats import get_format
from utils.mirror import mirror_features
from utils.representation import canonicalize, feature_statistics, features_to_joints, joints_to_features

SPLITS = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}
TEXT = (
    "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0\nsomeone steps ahead#someone/PRON step/VERB ahead/ADV#0.0#0.0\n"
)


def walk(number: int, dataset: str, n_frames: int = 61) -> np.ndarray:
    """Features of a stiff walk whose pace, bobbing and turning depend on `number`."""
    skeleton, time = get_format(dataset), np.linspace(0, 3, n_frames)
    pose = np.zeros((skeleton.n_joints, 3))
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            pose[joint] = pose[parent] + skeleton.bone_lengths[joint] * skeleton.directions[joint]
    path = np.stack(
        [0.1 * np.sin(time + number), 0.03 * np.sin(3 * time), (0.3 + 0.2 * number) * np.sin(time / 2)], axis=1
    )
    return joints_to_features(canonicalize(pose + path[:, None], dataset), dataset)


def good_folder(root: Path, dataset: str = "humanml3d") -> DatasetSpec:
    spec = moved(get_spec(dataset), root)
    for folder in (spec.features_dir, spec.joints_dir, spec.texts_dir):
        folder.mkdir(parents=True)
    rows = []
    for split, numbers in SPLITS.items():
        for number in numbers:
            features = walk(number, dataset)
            np.save(spec.features_dir / f"{number:06d}.npy", features)
            np.save(spec.joints_dir / f"{number:06d}.npy", features_to_joints(features, dataset))
            (spec.texts_dir / f"{number:06d}.txt").write_text(TEXT)
            rows += [features] if split == "train" else []
        spec.split_path(split).write_text("".join(f"{number:06d}\n" for number in numbers))
    mean, std = feature_statistics(rows, get_format(dataset))
    np.save(spec.mean_path, mean)
    np.save(spec.std_path, std)
    return spec


@pytest.fixture(scope="module", params=["humanml3d", "kit"])
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    return good_folder(tmp_path_factory.mktemp("template") / "dataset", request.param)


@pytest.fixture
def spec(template: DatasetSpec, tmp_path: Path) -> DatasetSpec:
    """A good folder of either layout, to be spoiled."""
    shutil.copytree(template.root, tmp_path / "dataset")
    return moved(template, tmp_path / "dataset")


def found(report: Report) -> dict[str, tuple[str, ...]]:
    return {**report.problems, **report.notes}


def edit(path: Path, change: Callable[[np.ndarray], np.ndarray | None]) -> None:
    content = np.load(path)
    changed = change(content)
    np.save(path, content if changed is None else changed)


def test_a_good_folder_has_nothing(spec: DatasetSpec) -> None:
    report = check_folder(spec)
    assert found(report) == {}
    assert report.splits["train"].ids == report.splits["train"].clips == 6 and report.splits["val"].captions == 4
    assert report.splits["train"].seconds == pytest.approx(6 * 60 / spec.format.fps, abs=0.01)
    assert "no problem found" in format_report(report)


def test_joints_may_have_the_frame_that_features_lose(spec: DatasetSpec) -> None:
    edit(spec.joints_dir / "000001.npy", lambda joints: np.concatenate([joints, joints[-1:]]))
    assert found(check_folder(spec)) == {}


MOTION_DAMAGES = {
    "contacts": lambda x: x.__setitem__((10, -1), 0.5),
    "speed": lambda x: x.__setitem__((10, 2), 2000.0),
    "rotations": lambda x: x.__setitem__((slice(None), slice(70, 100)), 0.3),
    "not-finite": lambda x: x.__setitem__((30, 7), np.nan),
    "wrong-shape": lambda x: x[:, :-1],
    "too-short": lambda x: x[:20],
    "too-long": lambda x: np.tile(x, (4, 1)),
}


@pytest.mark.parametrize("kind", MOTION_DAMAGES)
def test_damaged_motions(spec: DatasetSpec, kind: str) -> None:
    path = spec.features_dir / "000002.npy"
    edit(path, MOTION_DAMAGES[kind])
    (spec.joints_dir / path.name).unlink()
    report = check_folder(spec)
    assert set(found(report)) == {kind} and "000002" in found(report)[kind][0]
    assert (kind in report.problems) == (KINDS[kind].severity == "problem")


def test_missing_and_unreadable_motions(spec: DatasetSpec) -> None:
    (spec.features_dir / "000003.npy").unlink()
    (spec.features_dir / "000004.npy").write_bytes(b"\x93NUMPY garbage")
    np.save(spec.features_dir / "000005.npy", np.array([{"an": "object"}]), allow_pickle=True)
    assert found(check_folder(spec)) == {"no-motion": ("000003",), "unreadable-motion": ("000004", "000005")}


def test_joints_that_are_not_the_features(spec: DatasetSpec) -> None:
    edit(spec.joints_dir / "000000.npy", lambda joints: joints + [0, 0.05, 0])
    edit(spec.joints_dir / "000001.npy", lambda joints: joints[:-5])
    edit(spec.joints_dir / "000006.npy", lambda joints: joints * np.nan)
    problems = check_folder(spec).problems
    assert set(problems) == {"joints", "unreadable-joints"} and len(problems["unreadable-joints"]) == 2
    assert problems["joints"][0].startswith("000000: up to 0.05 m")


@pytest.mark.parametrize(("factor", "name"), [(100.0, "centimetres"), (1000.0, "millimetres")])
def test_units_are_guessed(spec: DatasetSpec, factor: float, name: str) -> None:
    layout = get_format(spec.format)
    lengths = [3, *range(layout.positions.start, layout.positions.stop)]

    def scale(features: np.ndarray) -> None:
        features[:, lengths] *= factor / layout.units_per_metre

    for path in spec.features_dir.iterdir():
        edit(path, scale)
    shutil.rmtree(spec.joints_dir)
    (text,) = check_folder(spec).problems["units"]
    assert f"seem to be in {name}" in text


def test_one_motion_underground(spec: DatasetSpec) -> None:
    edit(
        spec.features_dir / "000007.npy",
        lambda x: x.__setitem__((slice(None), 3), -50 * get_format(spec.format).units_per_metre),
    )
    (spec.joints_dir / "000007.npy").unlink()
    assert found(check_folder(spec)) == {"height": ("000007: -50.00 m",)}


CAPTION_DAMAGES = {
    "malformed-line": ["a person walks", "a person walks#a/DET#0.0", "a#a/DET#zero#0", "a#a/DET#0#inf"],
    "empty-caption": ["#a/DET#0.0#0.0", "  ##0#0"],
    "no-words": ["a person waves##0.0#0.0"],
    "no-pos": ["a person waves#a/DET person wave/VERB#0.0#0.0", "a person waves#/#0.0#0.0"],
    "reversed-tag": ["a person waves#a/DET#2.0#1.0", "a person waves#a/DET#2.0#2.0"],
    "outside-tag": ["a person waves#a/DET#90.0#95.0", "a person waves#a/DET#1.0#95.0"],
    "short-tag": ["a person waves#a/DET#0.5#1.0"],
    "nan-tag": ["a person waves#a/DET#nan#nan", "a person jumps#a/DET#0.0#NaN"],
    "repeated-caption": [TEXT.split("\n")[0]],
}  # fmt: skip


@pytest.mark.parametrize("kind", CAPTION_DAMAGES)
def test_damaged_captions(spec: DatasetSpec, kind: str) -> None:
    path = spec.texts_dir / "000008.txt"
    path.write_text(TEXT + "\n".join(CAPTION_DAMAGES[kind]) + "\n")
    names = found(check_folder(spec))
    assert set(names) == {kind}
    expected = [f"000008.txt line {3 + number}" for number in range(len(CAPTION_DAMAGES[kind]))]
    assert [name.split(":")[0] for name in names[kind]] == expected


def test_caption_files_that_are_missing_empty_or_not_text(spec: DatasetSpec) -> None:
    (spec.texts_dir / "000000.txt").unlink()
    (spec.texts_dir / "000001.txt").write_text("\n\n")
    (spec.texts_dir / "000002.txt").write_bytes("l\u00e8ve#a/DET#0#0".encode("latin-1"))
    report = check_folder(spec)
    assert found(report) == {
        "no-text": ("000000",),
        "encoding": ("000002",),
        "no-caption": ("000001.txt",),
    }
    assert report.splits["train"].clips == 3


def test_splits_that_share_clips(spec: DatasetSpec) -> None:
    np.save(spec.features_dir / "M000001.npy", mirror_features(np.load(spec.features_dir / "000001.npy"), spec.format))
    (spec.texts_dir / "M000001.txt").write_text(TEXT)
    spec.split_path("val").write_text("000006\n000007\nM000001\n000000\n000007\n")
    assert found(check_folder(spec)) == {
        "repeated-id": ("000007 (val)",),
        "overlap": ("000000 (train, val)",),
        "leak": ("000001 (train), M000001 (val)",),
    }


def test_mirrored_clips_beside_their_originals_are_fine(spec: DatasetSpec) -> None:
    np.save(spec.features_dir / "M000001.npy", mirror_features(np.load(spec.features_dir / "000001.npy"), spec.format))
    (spec.texts_dir / "M000001.txt").write_text(TEXT)
    assert found(check_folder(spec)) == {"unlisted": ("M000001",)}
    with open(spec.split_path("train"), "a") as file:
        file.write("M000001\n")
    assert found(check_folder(spec)) == {}


def test_the_same_motion_under_two_names(spec: DatasetSpec) -> None:
    for copy in ("000002", "000009"):
        for folder in (spec.features_dir, spec.joints_dir):
            shutil.copy(folder / ("000001.npy" if copy == "000002" else "000007.npy"), folder / f"{copy}.npy")
    assert found(check_folder(spec)) == {
        "same-motion-across": ("000007 (val) = 000009 (test)",),
        "same-motion": ("000001 = 000002",),
    }


def test_empty_and_useless_splits(spec: DatasetSpec) -> None:
    spec.split_path("val").write_text("\n \n")
    spec.split_path("test").write_text("nowhere\n")
    report = check_folder(spec)
    assert report.notes["unused-split"] == (str(spec.split_path("val")),), "trainings do without"
    assert report.problems["unusable-split"] == ("test",)
    spec.split_path("val").write_bytes("\u00e9".encode("latin-1"))
    assert "not UTF-8" in check_folder(spec).problems["unreadable-split"][0]
    spec.split_path("train").write_text("")
    assert check_folder(spec).problems["empty-split"] == (str(spec.split_path("train")),)


STATISTICS_DAMAGES = {
    "shape": ("Mean.npy", lambda x: x[:-1]),
    "NaN or infinite in column 7": ("Mean.npy", lambda x: x.__setitem__(7, np.nan)),
    "not positive in column 9": ("Std.npy", lambda x: x.__setitem__(9, 0.0)),
}


@pytest.mark.parametrize("words", STATISTICS_DAMAGES)
def test_unusable_statistics(spec: DatasetSpec, words: str) -> None:
    name, damage = STATISTICS_DAMAGES[words]
    edit(spec.root / name, damage)
    (text,) = found(check_folder(spec))["statistics"]
    assert name in text and words in text


def test_statistics_of_other_motions(spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.check.motions.FEWEST_ROWS", 100)
    assert found(check_folder(spec)) == {}
    edit(spec.std_path, lambda x: x.__setitem__(slice(0, 4), x[:4] / 5))  # another program's feature bias
    names = {name.split(":")[0] for name in found(check_folder(spec))["statistics-fit"]}
    assert {"root velocity", "root height"} <= names <= {"yaw velocity", "root velocity", "root height"}
    edit(spec.std_path, lambda x: x.__setitem__(slice(0, 4), x[:4] * 5))
    edit(spec.mean_path, lambda x: x.__setitem__(3, x[3] * 2))
    (text,) = found(check_folder(spec))["statistics-fit"]
    assert text.startswith("root height: Mean.npy is")


def test_what_is_missing_is_named_with_its_place(spec: DatasetSpec) -> None:
    shutil.rmtree(spec.texts_dir)
    spec.std_path.unlink()
    spec.split_path("test").unlink()
    report = check_folder(spec)
    assert report.problems["missing"] == tuple(
        f"{path.name}, it belongs at {path}" for path in (spec.texts_dir, spec.std_path, spec.split_path("test"))
    )
    assert set(report.problems) == {"missing", "unusable-split"}, "absent caption files are said once"


def test_no_folder_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its folder belongs at .*nowhere"):
        check_folder(moved(get_spec("mini"), tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clips that are checked, and not known from before."""
    check, ids = checking._check_clip, []

    def noted(spec: DatasetSpec, clip_id: str, is_training: bool):
        ids.append(clip_id)
        return check(spec, clip_id, is_training)

    monkeypatch.setattr(checking, "_check_clip", noted)
    return ids


def test_nothing_is_checked_twice(spec: DatasetSpec, checked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.check.motions.FEWEST_ROWS", 100)
    (spec.texts_dir / "000003.txt").write_text(TEXT.replace("0.0#0.0", "1#90", 1))
    edit(spec.features_dir / "000004.npy", lambda features: features[:20])
    np.save(spec.features_dir / "000008.npy", np.load(spec.features_dir / "000001.npy"))
    np.save(spec.std_path, 9 * np.load(spec.std_path))
    first = check_folder(spec)
    assert {"outside-tag", "too-short", "same-motion-across", "statistics-fit"} <= set(found(first))
    assert check_folder(spec).to_dict() == first.to_dict() and len(checked) == 10


CHANGES = {
    "features": lambda spec: edit(spec.features_dir / "000002.npy", lambda features: features * 1.5),
    "joints": lambda spec: edit(spec.joints_dir / "000002.npy", lambda joints: joints + 1),
    "captions": lambda spec: (spec.texts_dir / "000002.txt").write_text(TEXT + "nothing more\n"),
    "no captions": lambda spec: (spec.texts_dir / "000002.txt").unlink(),
    "no texts": lambda spec: shutil.rmtree(spec.texts_dir),
    "split": lambda spec: [spec.split_path(split).write_text(f"00000{n}\n") for split, n in (("train", 0), ("val", 2))],
    "min_frames": lambda spec: replace(spec, min_frames=64),
    "fps": lambda spec: replace(spec, format=replace(spec.format, fps=10.0)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changed_is_checked_again(
    spec: DatasetSpec, checked: list[str], change: Callable[[DatasetSpec], DatasetSpec | None]
) -> None:
    before = check_folder(spec).to_dict()
    del checked[:]
    changed = change(spec)
    spec = changed if isinstance(changed, DatasetSpec) else spec
    report = check_folder(spec).to_dict()
    assert "000002" in checked and report != before
    shutil.rmtree(spec.cache_dir)
    assert check_folder(spec).to_dict() == report


def test_a_file_that_may_be_read_now_is_checked_again(spec: DatasetSpec, checked: list[str]) -> None:
    check_folder(spec)
    (spec.features_dir / "000002.npy").chmod(0o640)
    check_folder(spec)
    assert checked.count("000002") == 2


def test_another_version_of_the_check_starts_anew(
    spec: DatasetSpec, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checking._code() == checking._code.__wrapped__()
    for code, count in ((b"one", 10), (b"another", 20), (b"another", 20)):
        monkeypatch.setattr(checking, "_code", lambda code=code: code)
        check_folder(spec)
        assert len(checked) == count


def test_a_check_that_is_killed_goes_on(spec: DatasetSpec, checked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_store, "CHUNK_BYTES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(checking, "motion_digest", lambda features: "same" if len(checked) < 7 else sys.exit())
        with pytest.raises(SystemExit):
            check_folder(spec)
    report = check_folder(spec)
    assert checked == [f"{number:06d}" for number in (*range(7), *range(6, 10))]
    assert len(found(report)["same-motion"]) == 1, "the first six are what the killed check made of them"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    from data.check.__main__ import main

    monkeypatch.setattr(sys, "argv", ["data.check", *arguments])
    with pytest.raises(SystemExit) as ended:
        run_script(main)
    return ended.value.code


def test_the_command(
    spec: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (spec.root / "dataset.json").write_text(
        json.dumps({"fps": spec.format.fps, "joints": spec.format.name, "min_frame": 24})
    )
    command = ["--dataset_name", str(spec.root), "--json", str(tmp_path / "report.json")]
    assert run(monkeypatch, *command) == 0
    assert "1 key of dataset.json means nothing: min_frame" in capsys.readouterr().out
    assert run(monkeypatch, *command, "--strict") == 1
    (spec.root / "dataset.json").unlink()
    command[:2] = ["--dataset_name", spec.format.name, "--dataset_root", str(spec.root)]
    for number in range(10):
        (spec.texts_dir / f"{number:06d}.txt").write_text("a person walks\n")
    capsys.readouterr()
    assert run(monkeypatch, *command) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if "malformed" in line)
    assert line.split()[0] == "10" and line.count(".txt") == 5 and line.endswith("; ...")
    content = json.loads((tmp_path / "report.json").read_text())
    (problem,) = [each for each in content["problems"] if each["kind"] == "malformed-line"]
    assert not content["fine"] and problem["count"] == len(problem["names"]) == 10
    assert run(monkeypatch, "--dataset_name", "kit", "--dataset_root", str(tmp_path / "nowhere")) == 2
    assert run(monkeypatch, "--dataset_name", "nothing") == 2
