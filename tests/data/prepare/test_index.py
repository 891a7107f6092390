"""HumanML3D's index over CMU's own files: crops at true rates, takes kept together, each unusable row named."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data.motions.cmu import captured_rate, take_of, true_rate
from data.motions.folder import motion_paths
from data.motions.reader import MotionReader
from data.prepare.index import find_takes, read_index
from data.prepare.settings import SplitSettings
from data.prepare.splits import split_by_hash
from options.command_line import parse
from options.prepare import PrepareOptions
from pipeline.preparation import prepare_dataset
from tests.data.prepare.bodies import PACK, Body, walking_body, write_amc, write_bvh
from utils.errors import UserError
from utils.representation import canonicalize

CMU = PACK.with_name("cmu")
needs_cmu = pytest.mark.skipif(not CMU.is_dir(), reason="CMU's takes are not beside the project")
HEADER = "source_path,start_frame,end_frame,new_name\n"


def rows(*lines: str) -> str:
    return HEADER + "".join(f"./pose_data/{line}\n" for line in lines)


def run(folder: Path, index: str, *flags: str) -> tuple[int, dict]:
    """Exit code and report of a preparation of `folder/cmu`, with a caption for every name in the index."""
    (folder / "index.csv").write_text(index)
    (folder / "texts").mkdir(exist_ok=True)
    for line in filter(lambda line: "," in line, index.splitlines()[1:]):
        (folder / "texts" / f"{line.rpartition(',')[2].removesuffix('.npy')}.txt").write_text("he lifts the left arm\n")
    (folder / "texts" / "999999.txt").write_text("of no clip here\n")
    arguments = [
        "--humanml3d_index",
        folder / "index.csv",
        "--text_dir",
        folder / "texts",
        "--motion_dir",
        folder / "cmu",
    ]
    arguments += ["--out", folder / "out", "--workers", "1", "--contact_sheet", "0", *flags]
    code = prepare_dataset(parse(PrepareOptions, [str(word) for word in arguments]))
    return code, json.loads((folder / "out" / "report.json").read_text())


def takes(folder: Path) -> Path:
    """Twelve seconds of one body as takes of 120 and of 60 frames a second, laid out as CMU does."""
    write_amc(folder / "cmu" / "subjects" / "01" / "01_01.amc", walking_body(12.0, 120))
    write_amc(folder / "cmu" / "subjects" / "60" / "60_01.amc", walking_body(12.0, 60))
    return folder


def test_clips_are_the_crops_of_the_takes(tmp_path: Path) -> None:
    """Whatever the rate, frames of the index are a twentieth of a second; clips of one take stay in one split."""
    lines = ["CMU/01/01_01_poses.npy,20,220,000001.npy", "CMU/60/60_01_poses.npy,41,241,000002.npy"]
    lines += ["CMU/01/01_01_poses.npy,140,-1,000003.npy", "KIT/3/walk_poses.npy,0,100,000004.npy"]
    code, report = run(takes(tmp_path), rows(*lines, "humanact12/humanact12/P01.npy,0,-1,000005.npy"))
    assert code == 0 and report["sources"]["kinds"] == {"amc": 3}
    assert report["sources"]["frame_rates"] == {"120.0": 2, "60.0": 1}
    assert report["remarks"] == [{"name": "", "remark": "rows of the index that are not CMU's: KIT 1, humanact12 1"}]
    whole = walking_body(12.0, 20).joints()
    for name, first, last in (("000001", 20, 220), ("000002", 41, 241), ("000003", 140, 241)):
        joints = np.load(tmp_path / "out" / "new_joints" / f"{name}.npy")
        np.testing.assert_allclose(joints, canonicalize(whole[first:last]), atol=2e-3)
    found, _ = find_takes(read_index(tmp_path / "index.csv"), tmp_path / "cmu")
    told = {source.name: source.take for source in found}
    assert told == {"000001": "01_01", "000002": "60_01", "000003": "01_01"}
    names = [f"{number:06d}" for number in range(60)]
    splits = split_by_hash(names, SplitSettings(), {name: f"take{int(name) // 10}" for name in names})
    assert all(len(members) % 10 == 0 for members in splits.values()) and sum(map(len, splits.values())) == 60


def test_a_changed_crop_or_skeleton_makes_the_clip_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    takes(tmp_path)
    one = "CMU/01/01_01_poses.npy,40,140,000001.npy"
    for lines, made in (((one,), 1), ((one,), 0), ((one.replace("40,", "20,"),), 1)):
        run(tmp_path, rows(*lines))
        assert f"{made} made now" in capsys.readouterr().out
    asf = tmp_path / "cmu" / "subjects" / "01" / "01.asf"
    asf.write_text(asf.read_text() + "\n")
    run(tmp_path, rows(one.replace("40,", "20,")))
    assert "1 made now" in capsys.readouterr().out


BAD = {
    "CMU/02/02_01_poses.npy,0,100,000010.npy": "missing take: {cmu} has no 02_01",
    "CMU/01/01_01_poses.npy,200,400,000011.npy": "crop past the end: frames 200 to 400 at 20 fps, the take has 241",
    "CMU/01/01_01_poses.npy,300,-1,000012.npy": "crop past the end: frames 300 to the end",
    "CMU/01/01_01_poses.npy,100,50,000013.npy": "bad row: frames '100' to '50'",
    "CMU/01/01_01_poses.npy,x,50,000014.npy": "bad row: frames 'x' to '50'",
    "CMU/01/walk_poses.npy,0,50,000015.npy": "bad row: 'walk_poses.npy' is no take of CMU's",
    "CMU/03/03_01_poses.npy,0,100,000016.npy": "unknown rate: an .amc does not tell its frames a second",
    "CMU/01/01_02_poses.npy,0,100,000017.npy": "not a complete AMC file of 01.asf: line 5: bone pelvis has 2 numbers",
    "CMU/04/04_01_poses.npy,0,100,000018.npy": "no skeleton: put its 04.asf into the same folder",
    "CMU/18_19_Justin/18_01_poses.npy,0,100,000019.npy": "two people: nothing tells in which is justin, 18_01 or 19_01",
    "CMU/01/01_01_poses.npy,0,100,000001.npy": "duplicate name: 000001 stands in the index before",
    "CMU/01/01_01_poses.npy": "bad row: no new_name",
}  # fmt: skip


def test_every_row_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The rest goes on; a rate that the user gives serves takes of which none is known."""
    folder = takes(tmp_path) / "cmu" / "subjects"
    (folder / "01" / "01_02.amc").write_text("1\nroot 0 0 0 0 0 0\n\n\npelvis 0 0\n")
    for take, seed in (("03_01", 3), ("18_01", 1), ("04_01", 4)):
        write_amc(folder / take[:2] / f"{take}.amc", walking_body(6.0, 120, seed))
    (folder / "04" / "04.asf").unlink()
    good = "CMU/01/01_01_poses.npy,40,140,000001.npy"  # the index ends the take there
    late = "CMU/01/01_01_poses.npy,140,250,000002.npy"
    code, report = run(tmp_path, rows(good, late, *BAD))
    assert code == 1 and report["clips"]["taken"] == 2
    refused = [each["reason"] for each in report["refused"]]
    for words in BAD.values():
        expected = words.format(cmu=tmp_path / "cmu")
        assert sum(expected in reason for reason in refused) == 1, (expected, refused)
    assert len(refused) == len(BAD)
    remarks = [each["remark"] for each in report["remarks"]]
    assert any("is its frame rate true? frames 40 to 140 at 20 fps, the take has 241" in each for each in remarks)
    assert any("the crop ends after the take: frames 140 to 250" in each for each in remarks)
    code, report = run(tmp_path, rows(good, late, *BAD), "--source_fps", "120", "--restart")
    assert report["clips"]["taken"] == 3 and not any("unknown rate" in each["reason"] for each in report["refused"])


def test_people_of_a_take_of_two_are_told_by_their_skeletons(tmp_path: Path) -> None:
    for subject, who in (("18", "rory3"), ("19", "Justin3")):
        path = write_amc(tmp_path / f"{subject}_05.amc", walking_body(1.0))
        path.write_text(path.read_text().replace("somewhere", f"H:\\shake hands\\{who}.ASF"))
    lines = ["CMU/18_19_Justin/18_05_poses.npy,0,20,1.npy", "CMU/18_19_rory/18_05_poses.npy,0,20,2.npy"]
    (tmp_path / "index.csv").write_text(rows(*lines))
    found, refused = find_takes(read_index(tmp_path / "index.csv"), tmp_path)
    assert [(source.path.name, source.take) for source in found] == [("19_05.amc", "18_05"), ("18_05.amc", "18_05")]
    assert not refused


def test_which_file_of_a_take(tmp_path: Path) -> None:
    """CMU's own before conversions, if its skeleton is there; of these the one without a longer name."""
    for name in ("01_01.bvh", "01_01_daz.bvh", "01_02.bvh", "01_02.npz"):
        (tmp_path / name).touch()
    write_amc(tmp_path / "01_01.amc", walking_body(0.2))
    (tmp_path / "index.csv").write_text(rows("CMU/01/01_01_poses.npy,0,20,1.npy", "CMU/1/01_02_poses.npy,0,20,2.npy"))
    for expected in (["01_01.amc", "01_02.bvh"], ["01_01.bvh", "01_02.bvh"]):
        found, _ = find_takes(read_index(tmp_path / "index.csv"), tmp_path)
        assert [source.path.name for source in found] == expected
        (tmp_path / "01.asf").unlink(missing_ok=True)


def test_mirrored_copies_and_split_files_of_humanml3d(tmp_path: Path) -> None:
    """The split files name clips of all data sets and their mirrored copies; only what the index names is missed."""
    takes(tmp_path)
    for split, names in {"train": "000001 M000001 777777 M777777", "val": "000002 000003 M000003", "test": ""}.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(names.split()))
    lines = ["CMU/01/01_01_poses.npy,0,200,000001.npy", "CMU/60/60_01_poses.npy,41,241,000002.npy"]
    lines.append("CMU/02/02_01_poses.npy,0,100,000003.npy")
    code, report = run(tmp_path, rows(*lines), "--mirror", "--split_dir", str(tmp_path))
    assert code == 1 and {split: row["clips"] for split, row in report["splits"].items()} == {
        "train": 2, "val": 2, "test": 0,
    }  # fmt: skip
    assert [each["remark"] for each in report["remarks"]] == ["in a split file but not prepared: 000003"]
    assert "right arm" in (tmp_path / "out" / "texts" / "M000001.txt").read_text()


@pytest.mark.parametrize(
    "index, words",
    [
        ("a,b\n1,2\n", "it has no column source_path"),
        (rows("KIT/3/walk_poses.npy,0,100,000004.npy"), "names no usable clip of a take of CMU's"),
        (rows("CMU/1/1_1.npy,9,1,000004.npy"), "index.csv line 2: bad row: frames '9' to '1'"),
        (HEADER + '"', "not a readable CSV file"),
    ],
)
def test_an_index_that_is_none(tmp_path: Path, index: str, words: str) -> None:
    (tmp_path / "index.csv").write_text(index)
    with pytest.raises(UserError, match=words):
        read_index(tmp_path / "index.csv")


def test_nothing_usable_is_the_end(tmp_path: Path) -> None:
    (tmp_path / "cmu").mkdir()
    with pytest.raises(UserError, match=r"no clip could be prepared: 1 refused, .*missing take: .* has no 01_01"):
        run(tmp_path, rows("CMU/01/01_01_poses.npy,40,140,000001.npy"))


def test_rates_of_conversions(tmp_path: Path) -> None:
    """A conversion that copied the frames of a take claims 120; one that made others says how many."""
    ours = ("Hips", "LHipJoint")
    told = {(name, claimed): true_rate(tmp_path / name, ours, claimed)
            for name in ("60_01.bvh", "01_01.bvh", "03_01.bvh") for claimed in (None, 120.0, 60.0, 30.0)}  # fmt: skip
    assert [told["60_01.bvh", claimed] for claimed in (None, 120.0, 60.0, 30.0)] == [60.0, 60.0, 60.0, 30.0]
    assert [told["01_01.bvh", claimed] for claimed in (None, 120.0, 60.0, 30.0)] == [120.0, 120.0, 60.0, 30.0]
    assert [told["03_01.bvh", claimed] for claimed in (None, 120.0)] == [None, 120.0]
    assert true_rate(tmp_path / "60_01.bvh", ("Hips", "LeftUpLeg"), 120.0) == 120.0
    assert [captured_rate(take_of(name)) for name in ("90_8.amc", "90_09.amc", "090_012_b.bvh", "walk.amc")] == [
        60.0, None, 120.0, None,
    ]  # fmt: skip


def test_every_door_reads_acclaim(tmp_path: Path) -> None:
    """A BVH of a take of 60 frames a second that claims 120 is the same motion as the .amc."""
    body = walking_body(3.0, 60)
    write_amc(tmp_path / "60_02.amc", body)
    marked = Body((*body.names, "lButtock"), (*body.parents, 0), np.vstack([body.offsets, [[0.1, 0, 0]]]), body.root,
                  np.concatenate([body.turns, body.turns[:, :1] * 0], axis=1))  # fmt: skip
    write_bvh(tmp_path / "bvh" / "60_02.bvh", marked, 120)
    assert motion_paths(tmp_path) == {"60_02": tmp_path / "60_02.amc"}
    ours, other = (MotionReader(fps=20).read(tmp_path / name) for name in ("60_02.amc", "bvh/60_02.bvh"))
    assert (ours.kind, ours.unit, ours.source_fps, other.source_fps) == ("amc", "cmu", 60.0, 60.0)
    assert other.remarks == ("the file claims 120 frames a second, CMU captured 60",) and not ours.remarks
    np.testing.assert_allclose(ours.joints, other.joints, atol=1e-5)
    np.testing.assert_allclose(ours.joints, walking_body(3.0, 20).joints(), atol=2e-3)


DAZ = (
    "hip lThigh rThigh abdomen lShin rShin middle lFoot rFoot chest - - neck lCollar rCollar head lShldr rShldr "
    "lForeArm rForeArm lHand rHand"
)


def test_toes_of_the_conversion_for_daz_are_the_ends_of_its_feet(tmp_path: Path) -> None:
    body = walking_body(3.0)
    kept = [node for node, name in enumerate(DAZ.split()) if name != "-"]
    parents = tuple(kept.index(parent) if parent in kept else -1 for parent in np.array(body.parents)[kept])
    daz = Body(tuple(DAZ.split()[node] for node in kept), parents, body.offsets[kept], body.root, body.turns[:, kept])
    motion = MotionReader(fps=20).read(write_bvh(tmp_path / "a.bvh", daz, 20))
    assert motion.joint_map == "daz" and motion.source_frames == len(motion.joints) + 1
    toes = motion.joints[:, 10] - motion.joints[:, 7]
    np.testing.assert_allclose(np.linalg.norm(toes, axis=-1), 0.05, atol=1e-4)


OWN = {"02_01": "012181", "02_04": "007923", "07_01": "001137", "01_01": "004041"}


@needs_cmu
def test_agrees_with_the_joints_of_the_same_takes(tmp_path: Path) -> None:
    """The clips that the command cuts from the published files are those that were made from their joints: CMU's own
    within a centimetre, conversions within what their skeletons differ by (that for MotionBuilder has no chest)."""
    with zipfile.ZipFile(CMU / "texts.zip") as archive:
        archive.extractall(tmp_path)
    arguments = ["--humanml3d_index", CMU / "index_cmu.csv", "--text_dir", tmp_path / "texts"]
    arguments += ["--motion_dir", CMU / "source", "--out", tmp_path / "out", "--contact_sheet", "0", "--workers", "1"]
    assert prepare_dataset(parse(PrepareOptions, [str(word) for word in arguments])) == 1
    stored = np.load(CMU / "cmu_joints.npz")
    starts = np.concatenate([[0], np.cumsum(stored["lengths"])])
    bounds = {"011610": 0.04, "000757": 0.02} | dict.fromkeys((*OWN.values(), "002510"), 0.005)
    for name, bound in bounds.items():
        number = stored["names"].tolist().index(name)
        part = slice(starts[number], starts[number + 1])
        expected = canonicalize(stored["root"][part][:, None] + stored["rel"][part] * 1e-4)
        joints = np.load(tmp_path / "out" / "new_joints" / f"{name}.npy")
        assert joints.shape == expected.shape
        assert np.linalg.norm(joints - expected, axis=-1).mean() < bound, name


@needs_cmu
def test_rates_are_those_of_the_captures() -> None:
    told = list(csv.DictReader((CMU / "rates.csv").read_text().splitlines()))
    assert len(told) > 1900
    assert all(captured_rate(take_of(f"{row['take']}.amc")) == float(row["fps"]) for row in told)
