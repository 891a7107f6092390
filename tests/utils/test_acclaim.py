"""The Acclaim reader: positions against SciPy's matrices, exact errors, and no crash whatever the files hold."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.prepare.bodies import walking_body, write_amc
from utils.acclaim import read_amc, skeleton_path
from utils.errors import UserError


@pytest.mark.parametrize("degrees", [True, False])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_positions(tmp_path: Path, degrees: bool, newline: str) -> None:
    """Bones turn about axes of their own; angles in either unit, lines with either end."""
    body = walking_body(seconds=0.5)
    path = write_amc(tmp_path / "01_02.amc", body, degrees=degrees)
    for each in (path, tmp_path / "01.asf"):
        each.write_bytes(each.read_bytes().replace(b"\n", newline.encode()))
    motion = read_amc(path, 120.0)
    assert motion.fps == 120 and motion.names[:2] == ("root", "pelvis")
    nodes = [motion.names.index(name) for name in body.names]
    np.testing.assert_allclose(motion.positions()[:, nodes] * 0.0254 / 0.45, body.joints(), atol=1e-6)


ASF = """:units
 length 0.45
 angle deg
:root
 order TX TY TZ RX RY RZ
 axis XYZ
:bonedata
 begin
  name thigh
  direction 0 -1 0
  length 4
  axis 0 0 90 XYZ
  dof rx ry
 end
 begin
  name shin
  direction 0 -1 0
  length 3
  dof rx
 end
:hierarchy
 begin
  root thigh
  thigh shin
 end
"""
AMC = """:FULLY-SPECIFIED
:DEGREES
1
root 0 10 0 0 0 0
thigh 0 0
shin 0
2
root 0 10 0 0 90 0
thigh 0 90
shin 90
"""


def write(folder: Path, asf: str = ASF, amc: str = AMC) -> Path:
    (folder / "1.asf").write_bytes(asf.encode("utf-8", "surrogatepass"))
    (folder / "1_1.amc").write_bytes(amc.encode("utf-8", "surrogatepass"))
    return folder / "1_1.amc"


def edited(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


def test_a_leg_by_hand(tmp_path: Path) -> None:
    """The thigh's own axes are turned a quarter about z: its y is the world's -x."""
    motion = read_amc(write(tmp_path), 60.0).with_ends()
    assert motion.names == ("root", "thigh", "shin", "shin End Site")
    expected = [[[0, 10, 0], [0, 10, 0], [0, 6, 0], [0, 3, 0]], [[0, 10, 0], [0, 10, 0], [4, 10, 0], [4, 7, 0]]]
    np.testing.assert_allclose(motion.positions(), expected, atol=1e-12)


def test_what_may_be_left_out(tmp_path: Path) -> None:
    """Units and the root's lines have usual values; the motion's own word on angles counts; bones come in any order."""
    bare = ASF[ASF.index(":bonedata") :]
    usual = read_amc(write(tmp_path), 60.0).positions()
    np.testing.assert_array_equal(read_amc(write(tmp_path, bare), 60.0).positions(), usual)
    swapped = edited(AMC, "thigh 0 90\nshin 90", "shin 90\n\n# odd\nthigh 0 90")
    np.testing.assert_array_equal(read_amc(write(tmp_path, ASF, swapped), 60.0).positions(), usual)
    turned = AMC.replace(":DEGREES", ":RADIANS").replace("90", f"{math.pi / 2}")
    np.testing.assert_allclose(read_amc(write(tmp_path, ASF, turned), 60.0).positions(), usual, atol=1e-12)


@pytest.mark.parametrize(
    "file, old, new, words",
    [
        ("asf", ASF, "", "1.asf is not a complete ASF file: there is no bone"),
        ("asf", "angle deg", "angle gon", "1.asf is not a complete ASF file: line 3: angles in 'gon'"),
        ("asf", "axis XYZ", "axis XXY", "line 5: bone root has the axes 'XXY'"),
        ("asf", "RX RY RZ", "RX RY RW", "line 5: bone root has freedoms other"),
        ("asf", "name thigh", "name", "line 8: the bone's name '' is empty"),
        ("asf", "name shin", "name thigh", "line 15: the bone's name 'thigh' is empty or another's"),
        ("asf", "direction 0 -1 0", "direction 0 -1", "line 10: direction needs 3 numbers"),
        ("asf", "length 4", "", "line 8: a bone without length"),
        ("asf", "length 4", "length nan", "line 11: 'nan' is no usable number"),
        ("asf", "dof rx ry", "dof rx l", "line 13: bone thigh has freedoms other"),
        ("asf", "root thigh", "root thigh arm", "line 23: bone arm is not in :bonedata"),
        ("asf", "thigh shin", "thigh root", "line 24: bone root hangs on two bones"),
        ("asf", "thigh shin", "", "bone shin hangs on no other"),
        ("amc", AMC, "", "1_1.amc is not a complete AMC file of 1.asf: there is no frame"),
        ("amc", "1\nroot", "root", "line 3: 'root' stands where the first frame's number should"),
        ("amc", "2\n", "3\n", "line 7: '3' is not the number of the next frame"),
        ("amc", "shin 90", "shin 90 1", "line 10: bone shin has 2 numbers, the skeleton has 1"),
        ("amc", "shin 90", "shin", "line 10: bone shin has 0 numbers"),
        ("amc", "shin 90", "shin nan", "line 10: 'nan' is no usable number"),
        ("amc", "shin 90", "shin 1e9", "line 10: '1e9' is no usable number"),
        ("amc", "shin 90", "arm 90", "line 10: 'arm' is no bone that moves"),
        ("amc", "shin 90\n", "", "line 7: the frame lacks bone shin"),
        ("amc", "shin 90", "shin ninety", "line 10: 'ninety' is no number"),
    ],
)  # fmt: skip
def test_malformed_files_are_refused(tmp_path: Path, file: str, old: str, new: str, words: str) -> None:
    asf, amc = (edited(ASF, old, new), AMC) if file == "asf" else (ASF, edited(AMC, old, new))
    with pytest.raises(UserError, match=words):
        read_amc(write(tmp_path, asf, amc), 60.0)


def test_which_skeleton(tmp_path: Path) -> None:
    """The motion's own, else its subject's, else the only one."""
    path = tmp_path / "07_01.amc"
    with pytest.raises(UserError, match="no skeleton: put its 07.asf into the same folder"):
        skeleton_path(path)
    for name in ("other.asf", "07.ASF", "07_01.asf"):
        (tmp_path / name).touch()
        assert skeleton_path(path) == tmp_path / name
    with pytest.raises(UserError, match="no skeleton: put its 08.asf"):
        skeleton_path(tmp_path / "08_01.amc")


STRANGE = [
    "nan",
    "-inf",
    "1e999",
    ":hierarchy\n",
    "begin\n",
    "end\n",
    "root thigh",
    "dof tx",
    "9" * 5000,
    "\0",
    "²",
    "#",
]
EDITS = st.tuples(
    st.booleans(), st.floats(0, 1), st.integers(0, 20), st.one_of(st.text(max_size=12), st.sampled_from(STRANGE))
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(EDITS, min_size=1, max_size=4))
def test_any_files_are_read_or_refused(tmp_path: Path, edits: list[tuple[bool, float, int, str]]) -> None:
    """Valid text with stretches replaced by anything: a finite motion, or our own error and no other."""
    texts = [ASF, AMC]
    for which, place, length, new in edits:
        start = round(place * len(texts[which]))
        texts[which] = texts[which][:start] + new + texts[which][start + length :]
    try:
        motion = read_amc(write(tmp_path, *texts), 60.0)
    except UserError as error:
        assert "1.asf" in str(error) or "1_1.amc" in str(error)
        return
    assert motion.positions().shape == (len(motion.rotations), len(motion.names), 3)
    assert np.isfinite(motion.positions()).all()
