"""The mini dataset: folder layout, determinism, physics, captions that say what the clip shows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.check.folder import check_folder
from data.mini import folder as mini
from data.mini.captions import TEST_ONLY, captions, tagged
from data.mini.motion import make_clip
from data.specs import get_spec, moved
from utils.errors import UserError
from utils.facing import facing
from utils.formats import HUMANML3D, get_format
from utils.representation import canonicalize, features_to_joints

SKELETON = get_format("humanml3d")
N_CLIPS = 120


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mini") / "mini"
    mini.write(out, seed=3, n_clips=N_CLIPS, workers=1)
    return out


@pytest.fixture(scope="module")
def clips(root: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.load(path) for path in sorted((root / "new_joints").glob("*.npy"))}


def _attributes(root: Path) -> dict[str, list[dict[str, str]]]:
    return {name: item["segments"] for name, item in json.loads((root / "attributes.json").read_text()).items()}


def test_the_folder_is_laid_out_like_humanml3d(root: Path, clips: dict[str, np.ndarray]) -> None:
    assert len(clips) == N_CLIPS
    splits = [(root / f"{split}.txt").read_text().split() for split in ("train", "val", "test")]
    assert sorted(sum(splits, [])) == sorted(clips)
    assert [len(names) / N_CLIPS for names in splits] == pytest.approx([0.8, 0.05, 0.15], abs=0.01)
    for name, joints in clips.items():
        features = np.load(root / "new_joint_vecs" / f"{name}.npy")
        assert joints.shape == (len(features) + 1, 22, 3) and joints.dtype == np.float32
        assert features.shape[1] == 263 and features.dtype == np.float32
        assert 40 <= len(features) <= 120 and len(features) % 4 == 0
        assert np.isfinite(features).all()
    for file in ("Mean.npy", "Std.npy"):
        assert np.load(root / file).shape == (263,)
    assert (np.load(root / "Std.npy") > 0).all()
    description = json.loads((root / "dataset.json").read_text())
    assert description["seed"] == 3 and description["format_version"] == mini.FORMAT_VERSION
    assert sorted(_attributes(root)) == sorted(clips)


def test_the_check_of_datasets_finds_nothing(root: Path) -> None:
    report = check_folder(moved(get_spec("mini"), root))
    assert not report.problems and not report.notes


def test_joints_and_features_agree_and_are_canonical(root: Path, clips: dict[str, np.ndarray]) -> None:
    for name in list(clips)[:20]:
        joints = clips[name]
        rebuilt = features_to_joints(np.load(root / "new_joint_vecs" / f"{name}.npy"), "mini")
        np.testing.assert_allclose(rebuilt, joints[:-1], atol=2e-4)
        np.testing.assert_allclose(canonicalize(joints), joints, atol=1e-5)
        np.testing.assert_allclose(facing(joints[:1], HUMANML3D)[0], [0, 0, 1], atol=1e-5)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed, workers in (("a", 5, 1), ("b", 5, 2), ("c", 6, 1)):
        mini.write(tmp_path / name, seed=seed, n_clips=24, workers=workers)
    content = {
        name: {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in "abc"
    }
    assert content["a"] == content["b"]
    assert content["a"] != content["c"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_every_attribute_can_be_learned_and_is_tested() -> None:
    train, test = Counter(), Counter()
    planned = mini.plan(mini.N_CLIPS, seed=0)
    for segments, split in planned:
        for segment in segments:
            for key, value in segment.items():
                (test if split == "test" else train)[f"{key}={value}"] += 1
    assert min(train.values()) >= 50, train.most_common()[-5:]
    assert set(train) == set(test) and min(test.values()) >= 6
    assert 0.2 < np.mean([len(segments) == 2 for segments, _ in planned]) < 0.5


def test_bones_have_the_skeletons_length(clips: dict[str, np.ndarray]) -> None:
    for name, joints in clips.items():
        bones = np.linalg.norm(joints[:, 1:] - joints[:, list(SKELETON.parents[1:])], axis=-1)
        np.testing.assert_allclose(bones, np.tile(SKELETON.bone_lengths[1:], (len(bones), 1)), atol=1e-5, err_msg=name)


def test_feet_on_the_floor_do_not_slide_and_nothing_is_below_it(clips: dict[str, np.ndarray]) -> None:
    for name, joints in clips.items():
        toes = joints[:, [10, 11]]
        moved = np.linalg.norm(np.diff(toes[..., [0, 2]], axis=0), axis=-1)
        on_floor = (toes[:-1, :, 1] < 0.01) & (toes[1:, :, 1] < 0.01)
        assert moved[on_floor].max(initial=0.0) < 0.01, name
        assert joints[..., 1].min() > -0.01, name
        assert joints[0, [10, 11], 1].min() < 0.02, f"{name} starts in the air"


def test_motion_is_smooth(clips: dict[str, np.ndarray]) -> None:
    for name, joints in clips.items():
        acceleration = np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1) * 20**2
        assert acceleration.max() < 220, name  # m/s^2; the toe of a kick has the most
        assert acceleration[:, [0, 3, 6, 9, 12, 15]].max() < 60, name
        assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() * 20 < 12, name


def test_arms_and_legs_do_not_pass_through_the_body(clips: dict[str, np.ndarray]) -> None:
    for name, joints in clips.items():
        spine = joints[:, [0, 3, 6, 9]]
        for joint in (18, 19, 20, 21):
            distance = np.linalg.norm(joints[:, joint, None] - spine, axis=-1).min()
            assert distance > 0.06, (name, joint)
        for left, right in ((4, 5), (7, 8), (10, 11)):
            assert np.linalg.norm(joints[:, left] - joints[:, right], axis=-1).min() > 0.05, (name, left)


@pytest.mark.parametrize(("direction", "sign"), [("clockwise", -1), ("counterclockwise", 1)])
def test_circles_are_circles(direction: str, sign: int) -> None:
    for seed in range(6):
        segment = {"locomotion": "walk", "path": "circle", "direction": direction}
        joints = make_clip([segment], np.random.default_rng(seed))
        forward = facing(joints, HUMANML3D)
        turned = np.degrees(np.unwrap(np.arctan2(forward[:, 0], forward[:, 2])))
        assert sign * (turned[-1] - turned[0]) > 265
        path = joints[:, 0, [0, 2]].astype(np.float64)
        # A circle fits the path: x^2 + z^2 = 2 a x + 2 b z + c.
        terms = np.column_stack([2 * path, np.ones(len(path))])
        solution = np.linalg.lstsq(terms, (path**2).sum(axis=1), rcond=None)[0]
        radius = np.linalg.norm(path - solution[:2], axis=1)
        assert radius.std() < 0.12 * radius.mean() and 0.3 < radius.mean() < 2.5


def test_captions_say_everything_and_are_tagged(root: Path) -> None:
    words = {
        "walk": "walk stroll step", "run": "run sprint", "jog": "jog trot", "jump": "jump leap hop", "squat": "squat",
        "sit": "sit tak", "kneel": "kneel get", "lunge": "lung", "turn": "turn rotat", "stand": "stand stay",
        "sidestep": "sidestep step shuffl", "wave": "wav", "raise": "rais lift put", "clap": "clap applaud",
        "punch": "punch", "throw": "throw hurl", "point": "point", "kick": "kick", "nod": "nod", "shake": "shak",
        "look_left": "look turn", "look_right": "look turn", "circle": "circle", "slow": "slow leisurely",
        "fast": "quick fast brisk", "tired": "tired wear", "happy": "happ cheer merr", "both": "both",
        "sneaky": "sneak stealth crouch",
    }  # fmt: skip
    tags = {"DET", "NOUN", "VERB", "ADP", "ADJ", "ADV", "PRON", "CCONJ", "AUX", "NUM", "INTJ"}
    for name, segments in _attributes(root).items():
        lines = (root / "texts" / f"{name}.txt").read_text().splitlines()
        assert 3 <= len(lines) <= 4 and len(set(lines)) == len(lines)
        for line in lines:
            text, tokens, start, end = line.split("#")
            assert (start, end) == ("0.0", "0.0")
            for segment in segments:
                for key, value in segment.items():
                    expected = words.get(value, value).split()
                    if value in ("left", "right"):
                        expected = [value]
                    elif value in ("forward", "backward", "up", "around", "clockwise", "counterclockwise"):
                        continue  # the next test reads these
                    assert any(word in text.lower() for word in expected), (text, key, value)
            assert all(token.rpartition("/")[2] in tags for token in tokens.split())
            assert not set(tokens) & set(".,|{}")


def test_directions_are_said() -> None:
    wanted = {
        ("walk", "backward"): "back", ("jump", "forward"): "forward ahead", ("turn", "around"): "around 180",
        ("walk", "forward"): "forward ahead", ("jump", "up"): "up place",
    }  # fmt: skip
    for (locomotion, direction), words in wanted.items():
        for seed in range(20):
            segment = {"locomotion": locomotion, "direction": direction}
            for text, _ in captions([segment], np.random.default_rng(seed), held_out=True):
                assert any(word in text.lower() for word in words.split()), text
    for direction, words in (("clockwise", ("clockwise", "right")), ("counterclockwise", ("counter", "left"))):
        segment = {"locomotion": "walk", "path": "circle", "direction": direction}
        for text, _ in captions([segment], np.random.default_rng(1), held_out=False):
            assert any(word in text for word in words), text


def test_some_wordings_appear_in_the_test_split_only(root: Path) -> None:
    texts = {
        split: " \n".join(
            (root / "texts" / f"{name}.txt").read_text().lower() for name in (root / f"{split}.txt").read_text().split()
        )
        for split in ("train", "val", "test")
    }
    for wording in TEST_ONLY:
        assert wording not in texts["train"] and wording not in texts["val"], wording
    assert sum(wording in texts["test"] for wording in TEST_ONLY) >= 3


def test_tokens_are_lemmatised_and_without_punctuation() -> None:
    text, tokens = tagged("A person is walking to the left|NOUN, then waves with both hands.")
    assert text == "A person is walking to the left, then waves with both hands."
    assert " ".join(tokens) == (
        "a/DET person/NOUN is/AUX walk/VERB to/ADP the/DET left/NOUN then/ADV wave/VERB with/ADP both/DET hand/NOUN"
    )


def test_ensure_makes_it_once_and_again_for_another_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mini, "N_CLIPS", 20)
    monkeypatch.setattr(mini, "WORKERS", 1)
    out = tmp_path / "dataset" / "mini"
    mini.ensure(out)
    assert len(list((out / "texts").iterdir())) == 20
    stamp = (out / "Mean.npy").stat().st_mtime_ns
    mini.ensure(out)
    assert (out / "Mean.npy").stat().st_mtime_ns == stamp
    (out / "dataset.json").write_text('{"name": "mini", "format_version": -1}')
    mini.ensure(out)
    assert json.loads((out / "dataset.json").read_text())["format_version"] == mini.FORMAT_VERSION
    assert [path.name for path in out.parent.iterdir()] == ["mini"]


def test_a_foreign_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not a mini dataset"):
        mini.write(tmp_path / "mini", n_clips=20, workers=1)
    assert (tmp_path / "mini" / "thesis.txt").read_text() == "mine"
    for description in ('{"fps": 20, "joints": "humanml3d"}', '["a list"]', "{broken"):
        (tmp_path / "mini" / "dataset.json").write_text(description)
        with pytest.raises(UserError, match="not a mini dataset"):
            mini.write(tmp_path / "mini", n_clips=20, workers=1)


def test_by_its_path_it_is_the_same_dataset(root: Path) -> None:
    by_path, by_name = get_spec(str(root)), get_spec("mini")
    assert by_path == replace(by_name, name=root.name, root=root, generated=False)


def test_the_command_line_reports_a_bad_number() -> None:
    for flag, number in (("--n_clips", "3"), ("--seed", "-1")):
        command = [sys.executable, "-m", "data.mini", "--out", "unused", flag, number]
        result = subprocess.run(command, capture_output=True, text=True, cwd=Path(mini.__file__).parents[2])
        assert result.returncode == 2 and result.stderr.count("\n") == 1
        assert flag in result.stderr and number in result.stderr


def test_making_it_needs_no_torch() -> None:
    code = "import sys, data.mini.folder, data.oracle.scores; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(mini.__file__).parents[2]).returncode == 0
