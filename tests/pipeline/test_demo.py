"""Many prompts: written as they are made, and whatever stops a run, the same command ends with the same files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.motions.folder import demo_sample
from models.configs import SamplingSettings
from options.demo import DemoOptions
from options.export import FileOptions
from pipeline import TextToMotion
from pipeline.demo_folder import DemoFolder
from pipeline.demo_output import DemoRun
from storage.files import read_json
from utils.bvh import read_bvh
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
REQUESTS = [(f"a person {what}", length, 0) for what, length in zip("abcdefghijk", [None, 44, 60] * 4, strict=False)]
OPTIONS = DemoOptions(text_path="prompts.txt", formats=("npy",), batch_size=4, sampling=SamplingSettings(time_steps=1))


@pytest.fixture(scope="module")
def t2m() -> TextToMotion:
    return TextToMotion.load()


@pytest.fixture(scope="module")
def whole(t2m: TextToMotion, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    DemoRun(folder, t2m, REQUESTS, OPTIONS).run()
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    """All but the journal, whose lines come in the order in which motions are made."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "result.jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def samples(folder: Path) -> list[dict]:
    return read_json(folder / "result.json")["samples"]


class Watched:
    """The models, with what they make counted and what stops them."""

    def __init__(self, t2m: TextToMotion, stop_after: int | None = None, by: type = KeyboardInterrupt) -> None:
        self.t2m, self.made, self.stop_after, self.by = t2m, 0, stop_after, by

    def __getattr__(self, name: str):
        return getattr(self.t2m, name)

    def generate_each(self, *inputs, **settings):
        for each in self.t2m.generate_each(*inputs, **settings):
            if self.made == self.stop_after:
                raise self.by
            self.made += 1
            yield each


@pytest.mark.parametrize("stop_after", [0, 4, 6])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    stop_after: int, t2m: TextToMotion, whole: dict[str, bytes], tmp_path: Path
) -> None:
    stopped, again = Watched(t2m, stop_after), Watched(t2m)
    with pytest.raises(KeyboardInterrupt):
        DemoRun(tmp_path, stopped, REQUESTS, OPTIONS).run()
    assert len(samples(tmp_path)) == stop_after, "the index is behind"
    DemoRun(tmp_path, again, REQUESTS, OPTIONS).run()
    assert files(tmp_path) == whole
    # Those that stand side by side are needed again as long as that page is not there.
    assert again.made == len(REQUESTS)
    last = Watched(t2m)
    DemoRun(tmp_path, last, REQUESTS, OPTIONS).run()
    assert last.made == 0 and files(tmp_path) == whole, "something is made that is there"


def test_only_what_is_missing_is_made(t2m: TextToMotion, whole: dict[str, bytes], tmp_path: Path) -> None:
    options = replace(OPTIONS, compare=())
    with pytest.raises(RuntimeError):
        DemoRun(tmp_path, Watched(t2m, 6, RuntimeError), REQUESTS, options).run()
    assert len(samples(tmp_path)) == 6, "only a stop by hand brings the index up to date"
    again = Watched(t2m)
    DemoRun(tmp_path, again, REQUESTS, options).run()
    assert again.made == len(REQUESTS) - 6
    cut, gone = tmp_path / "02_a_person_c" / "features.npy", tmp_path / "07_a_person_h" / "joints.npy"
    cut.write_bytes(cut.read_bytes()[:-1])
    gone.unlink()
    damaged = Watched(t2m)
    DemoRun(tmp_path, damaged, REQUESTS, options).run()
    assert damaged.made == 2
    arrays = {name: content for name, content in whole.items() if name.endswith(".npy")}
    assert {name: content for name, content in files(tmp_path).items() if name.endswith(".npy")} == arrays
    anew = Watched(t2m)
    DemoRun(tmp_path, anew, REQUESTS, replace(options, skip_existing=False)).run()
    assert anew.made == len(REQUESTS) == len(samples(tmp_path))


def test_a_killed_command_goes_on(t2m: TextToMotion, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("".join(f"{text}={length or 40}\n" for text, length, _ in REQUESTS))
    flags = f"--text_path {tmp_path}/prompts.txt --formats npy --time_steps 1 --batch_size 2 --gpu_id -1 --output_dir"
    command, journal = [sys.executable, "demo.py", *flags.split()], tmp_path / "killed" / "demo" / "result.jsonl"
    process = subprocess.Popen([*command, str(tmp_path / "killed")], cwd=ROOT, stdout=subprocess.PIPE)
    while not (journal.exists() and b'"key"' in journal.read_bytes()) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, process.stdout.read()
    there = journal.read_bytes().count(b'{"key"')
    result = subprocess.run([*command, str(tmp_path / "killed")], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and f"note: {there} of {len(REQUESTS)} motions are in" in result.stdout, result.stderr
    assert [sample["prompt"] for sample in samples(journal.parent)] == [text for text, _, _ in REQUESTS]
    options = replace(OPTIONS, batch_size=2)
    DemoRun(tmp_path, t2m, [(text, length or 40, 0) for text, length, _ in REQUESTS], options).run()
    for sample in samples(tmp_path):
        for name in sample["files"].values():
            expected, found = np.load(tmp_path / name), np.load(journal.parent / name)
            np.testing.assert_allclose(expected, found, atol=1e-4)  # this process need not have as many threads


def test_a_folder_keeps_the_motions_of_earlier_runs(t2m: TextToMotion, tmp_path: Path) -> None:
    options = replace(OPTIONS, compare=())
    wave, jump = ("a person waves", 44, 0), ("a person jumps", 48, 0)
    DemoRun(tmp_path, t2m, [wave, jump], options).run()
    before = files(tmp_path)
    other = replace(options, sampling=SamplingSettings(time_steps=2))
    for requests, chosen in (([("a person waves", 44, 1), jump], options), ([wave], other)):
        DemoRun(tmp_path, t2m, requests, chosen).run()
    after = files(tmp_path)
    assert all(after[name] == content for name, content in before.items() if name != "result.json")
    found = {sample["files"]["joints"]: sample for sample in samples(tmp_path)}
    assert list(found) == [
        f"{n}/joints.npy" for n in ("00_a_person_waves", "01_a_person_jumps", "02_a_person_waves")
    ] + ["03_a_person_waves/joints.npy"]
    assert demo_sample(tmp_path / "02_a_person_waves" / "joints.npy")["seed"] == 1
    told = [sample.get("settings", {}).get("sampling", {}).get("time_steps") for sample in found.values()]
    assert told == [1, 1, 1, None], "of all settings but the last run's it is told what they were"


def test_another_format_joins_the_motion_that_is_there(t2m: TextToMotion, tmp_path: Path) -> None:
    for formats in (("npy",), ("bvh",), ("npy", "bvh")):
        watched = Watched(t2m)
        DemoRun(tmp_path, watched, REQUESTS[:1], replace(OPTIONS, formats=formats)).run()
    assert watched.made == 0
    assert list(samples(tmp_path)[0]["files"]) == ["joints", "features", "bvh"]


def test_edits_hold_for_files_and_leave_the_arrays(
    t2m: TextToMotion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In place, from the second second on, with Mixamo's names; joints.npy stays what was generated."""
    edits = FileOptions(in_place=True, trim="1,", rig="mixamo")
    for name, each in (("plain", FileOptions()), ("edited", edits)):
        (tmp_path / name).mkdir()
        options = replace(OPTIONS, formats=("npy", "bvh"), files=each)
        DemoRun(tmp_path / name, t2m, [("a person walks forward", 60, 0)], options).run()
    assert "Blender's Import > BVH: Scale 0.01" in capsys.readouterr().out
    arrays = [np.load(tmp_path / name / samples(tmp_path / name)[0]["files"]["joints"]) for name in ("plain", "edited")]
    np.testing.assert_array_equal(*arrays)
    motion = read_bvh(tmp_path / "edited" / samples(tmp_path / "edited")[0]["files"]["bvh"])
    assert motion.names[0] == "mixamorig:Hips" and len(motion.rotations) == len(arrays[0]) - 20
    assert np.ptp(motion.positions()[:, 0, [0, 2]], axis=0).max() < 1e-3


def test_equal_requests_are_motions_of_their_own(t2m: TextToMotion, tmp_path: Path) -> None:
    DemoRun(tmp_path, t2m, [("a person waves", 44, 0)] * 2, OPTIONS).run()
    assert [sample["files"]["joints"] for sample in samples(tmp_path)] == [
        f"0{number}_a_person_waves/joints.npy" for number in range(2)
    ]


def test_one_failure_does_not_lose_the_others(
    t2m: TextToMotion,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    written = DemoRun._write
    refused = {2, 5}

    def write(self, number, *rest):
        if number in refused:
            raise UserError(f"cannot write {number}: ffmpeg says: no")
        written(self, number, *rest)

    monkeypatch.setattr(DemoRun, "_write", write)
    with pytest.raises(UserError, match="2 of 11 motions could not be written"):
        DemoRun(tmp_path, t2m, REQUESTS, OPTIONS).run()
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and "05_a_person_f: cannot write 5" in "".join(errors)
    assert len(samples(tmp_path)) == 9
    refused.clear()
    DemoRun(tmp_path, t2m, REQUESTS, OPTIONS).run()
    assert files(tmp_path) == whole
    refused |= set(range(len(REQUESTS)))
    with pytest.raises(UserError, match="10 motions in a row could not be written"):
        DemoRun(tmp_path, t2m, REQUESTS, replace(OPTIONS, skip_existing=False)).run()


def test_nothing_of_a_former_run_is_overwritten_and_all_files_are_named(
    t2m: TextToMotion, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = replace(OPTIONS, formats=("npy", "png"), compare=("html",))
    runs, former = [REQUESTS[:2], REQUESTS[2:4], [(text, length, 1) for text, length, _ in REQUESTS[:2]]], {}
    for number, requests in enumerate(runs):
        DemoRun(tmp_path, t2m, requests, options).run()
        now = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if not path.name.startswith("result.")}
        assert former.items() <= now.items()
        written, said = {path for path in now if path not in former}, capsys.readouterr().out
        assert len(written) == 7 and all(path.name in said and str(path.parent) in said for path in written)
        assert f"comparison{f'_{number + 1}' if number else ''}.html: side by side" in said
        former = now
    told = {(sample["prompt"], sample["seed"]) for sample in samples(tmp_path)}
    assert told == {(text, seed) for requests in runs for text, _, seed in requests}
    for requests in runs:  # the same again makes nothing new
        DemoRun(tmp_path, t2m, requests, options).run()
    assert former == {path: path.read_bytes() for path in tmp_path.rglob("*.*") if not path.name.startswith("result.")}


def test_a_bad_prompt_among_many_is_refused_before_anything_is_there(t2m: TextToMotion, tmp_path: Path) -> None:
    for bad in (("a person sits", 5000, 0), (" ", 44, 0)):
        with pytest.raises(UserError, match="out of range|empty"):
            DemoRun(tmp_path, t2m, [*REQUESTS, bad], OPTIONS).run()
    assert not list(tmp_path.iterdir())


def test_a_journal_that_was_torn_or_tampered_with_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    place = DemoFolder(tmp_path)
    assert place.reserve({"1": "walks", "2": "runs"}, {}) == ["00_walks", "01_runs"]
    place.add("1", {"files": {"npy": "a"}})
    with open(tmp_path / "result.jsonl", "ab") as journal:
        journal.write(
            b'[]\n{"key": 3}\n{"common": {}, "names": {"4": "../../away", "5": null}}\n\xff\n{"key": "2", "tol'
        )
    place = DemoFolder(tmp_path)
    assert list(place.made) == ["1"]
    assert place.reserve({"2": "runs", "4": "sits"}, {}) == ["01_runs", "01_sits"]
    place.add("2", {"files": {"npy": "a"}})
    assert list(DemoFolder(tmp_path).made) == ["1", "2"], "the torn line swallowed the next"


def test_processes_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    first, second = DemoFolder(tmp_path), DemoFolder(tmp_path)
    assert first.reserve({"1": "walks"}, {}) == ["00_walks"] and second.reserve({"2": "walks"}, {}) == ["01_walks"]
    for place, key in ((first, "1"), (second, "2")):
        place.add(key, {"files": {"npy": "a"}, "prompt": key})
    first.reserve({}, {})
    first.write_index({"settings": {}}, {}, now=True)
    assert [sample["prompt"] for sample in samples(tmp_path)] == ["1", "2"]


def test_the_index_of_many_motions_costs_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"12")
    place, written = DemoFolder(tmp_path), []
    monkeypatch.setattr(
        json, "dumps", lambda *inputs, dumps=json.dumps, **how: written.append(1) or dumps(*inputs, **how)
    )
    place.reserve({str(key): "walks" for key in range(1000)}, {})
    for key in range(1000):
        place.add(str(key), {"files": {"npy": "a"}, "prompt": key})
        place.write_index({"settings": {}}, {})
    assert len(written) < 20000, "each motion writes all others again"
    place.write_index({"settings": {}}, {}, now=True)
    assert [sample["prompt"] for sample in samples(tmp_path)] == list(range(1000))
