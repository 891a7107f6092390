"""The BVH reader: positions against SciPy's matrices, exact errors, and no crash whatever the file holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.prepare.bodies import walking_body, write_bvh
from utils.bvh import read_bvh
from utils.errors import UserError
from utils.hierarchy import Hierarchy


@pytest.mark.parametrize("order", ["ZXY", "XYZ", "YXZ", "ZYX"])
@pytest.mark.parametrize("all_positions", [False, True])
@pytest.mark.parametrize("positions_last", [False, True])
def test_positions(tmp_path: Path, order: str, all_positions: bool, positions_last: bool) -> None:
    body = walking_body(seconds=0.5)
    options = {"all_positions": all_positions, "positions_last": positions_last, "wrong_offsets": all_positions}
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", body, 20, order, **options))
    assert motion.fps == 20
    assert motion.names[:3] == ("pelvis", "left_hip", "left_knee")  # depth first, as in the file
    nodes = [motion.names.index(name) for name in body.names]
    np.testing.assert_allclose(motion.positions()[:, nodes] / 100, body.joints(), atol=2e-6)
    leaves = [node for node in range(22) if node not in motion.parents]
    np.testing.assert_allclose(motion.ends[leaves], np.tile([0, 0, 5], (len(leaves), 1)))


SMALL = (
    "HIERARCHY ROOT the hips { OFFSET 1 2 3 CHANNELS 3 Xposition Yposition Zposition JOINT knee {"
    " OFFSET 0 -1 0 CHANNELS 2 Zrotation Yposition End Site { OFFSET 0 -1 0 } } }\nMOTION\nFrames: 2\n"
    "Frame Time: 0.5\n0 0 0 0 -2\n5 0 0 90 -2\n"
)


def test_one_rotation_channel_and_a_single_position_channel(tmp_path: Path) -> None:
    """A hinge has one rotation channel; a lone position channel replaces that axis of the OFFSET."""
    path = tmp_path / "hinge.bvh"
    path.write_text(SMALL)
    motion = read_bvh(path)
    assert motion.names == ("the hips", "knee") and motion.fps == 2
    np.testing.assert_allclose(motion.positions(), [[[0, 0, 0], [0, -2, 0]], [[5, 0, 0], [5, -2, 0]]])
    np.testing.assert_allclose(motion.rotations[1, 1], [np.sqrt(0.5), 0, 0, np.sqrt(0.5)])


@pytest.mark.parametrize(
    "written, fps", [("0.0333333", 30), ("0.033333", 30), ("0.0333", 30), ("0.00833333", 120), ("0.05", 20),
                     ("0.0333667", 1 / 0.0333667), ("4e-2", 25)],
)  # fmt: skip
def test_rounded_frame_times_mean_whole_rates(tmp_path: Path, written: str, fps: float) -> None:
    assert read_bvh(write_bvh(tmp_path / "a.bvh", walking_body(0.2), 20, frame_time=written)).fps == pytest.approx(fps)


def valid_text(folder: Path) -> str:
    return write_bvh(folder / "valid.bvh", walking_body(seconds=0.25), 20).read_text()


def edited(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    "edit, words",
    [
        (lambda text: "", "no line MOTION"),
        (lambda text: text[: text.index("MOTION") // 2], "no line MOTION"),
        (lambda text: text[:400] + text[text.index("MOTION") :], "header ends where"),
        (lambda text: edited(text, "Frames:\t6", "Frames:\t7"), "promises 7 frames of 69 numbers.*6.00 frames"),
        (lambda text: edited(text, "Frames:\t6", "Frames:\t6.5"), "'6.5' is no number of frames"),
        (lambda text: edited(text, "Frames:\t6", "Frames:\t0"), "'0' is no number of frames"),
        (lambda text: text[:-300], "promises 6 frames"),
        (lambda text: edited(text, "0.05000000", "0"), "frame time of 0"),
        (lambda text: edited(text, "0.05000000", "fast"), "line .*'fast' is no number"),
        (lambda text: edited(text, "Frame Time", "Frame"), "must be followed by"),
        (lambda text: edited(text, "\n0.0", "\nnan 0.0")[: -len(text.split()[-1]) - 1], "frame 0 holds nan"),
        (lambda text: edited(text, " 95", " x95"), r"line \d+: 'x95.* is no number"),
        (lambda text: edited(text, "Zrotation", "Wrotation"), "line 5: 'Wrotation' is no channel"),
        (lambda text: edited(text, "Zrotation", "Xrotation"), "line 5: channel Xrotation stands twice"),
        (lambda text: edited(text, "CHANNELS 6", "CHANNELS 99"), "line 5: '99' is no number of channels"),
        (lambda text: edited(text, "OFFSET", "OFFSETS"), "line 4: 'OFFSETS' is not understood"),
        (lambda text: edited(text, "MOTION", "}\nMOTION"), "'}' follows the end of the root"),
        (lambda text: edited(text, "ROOT pelvis", "ROOT"), "joint without a name"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, edit, words: str) -> None:
    path = tmp_path / "bad.bvh"
    path.write_text(edit(valid_text(tmp_path)))
    with pytest.raises(UserError, match=f"bad.bvh is not a complete BVH file: .*{words}"):
        read_bvh(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_bvh(tmp_path / "none.bvh")
    with pytest.raises(UserError, match="cannot be read"):
        read_bvh(tmp_path)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(
        st.tuples(
            st.floats(0, 1),
            st.integers(0, 20),
            st.one_of(
                st.text(max_size=12),
                st.sampled_from(
                    ["{", "}", "nan", "-inf", "1e999", "JOINT", "ROOT", "End Site", "CHANNELS 3", "MOTION\n", "OFFSET"]
                    + ["Frames: 99999999999999999999", "\x00", "9" * 5000, "Frame Time:", "Xrotation", "-1", "²"]
                ),
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_file_is_read_or_refused(tmp_path: Path, edits: list[tuple[float, int, str]]) -> None:
    """Valid text with stretches replaced by anything: a finite motion, or our own error and no other."""
    text = SMALL
    for place, length, new in edits:
        start = round(place * len(text))
        text = text[:start] + new + text[start + length :]
    path = tmp_path / "fuzzed.bvh"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        motion = read_bvh(path)
    except UserError as error:
        assert "fuzzed.bvh" in str(error)
        return
    assert isinstance(motion, Hierarchy) and motion.positions().shape == (len(motion.rotations), len(motion.names), 3)
    assert np.isfinite(motion.positions()).all()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bytes.bvh").write_bytes(content)
    with pytest.raises(UserError, match="bytes.bvh"):
        read_bvh(tmp_path / "bytes.bvh")
