"""Motions for the exporters' tests: made here, and real ones where they lie beside the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.visualization.motions import make_walk

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture
def walk() -> np.ndarray:
    """Two seconds and a half of the self-made walk."""
    return make_walk(frames=50)


@pytest.fixture(scope="session")
def real_clips() -> list[np.ndarray]:
    """A few real motion-capture clips (T, 22, 3) at 20 fps."""
    path = SHARED / "mocap" / "bandai_joints.npz"
    if not path.exists():
        pytest.skip("the motion-capture pack is not beside the project")
    with np.load(path, allow_pickle=False) as pack:
        ends = np.cumsum(pack["lengths"])
        relative, root = pack["rel"], pack["root"]
        chosen = range(0, len(ends), 180)
        return [
            root[ends[i] - pack["lengths"][i] : ends[i], None] + relative[ends[i] - pack["lengths"][i] : ends[i]] * 1e-4
            for i in chosen
        ]


@pytest.fixture(scope="session")
def reference_clip() -> np.ndarray:
    """A published HumanML3D clip (170, 22, 3)."""
    path = SHARED / "reference" / "012314_joints.npy"
    if not path.exists():
        pytest.skip("the reference clip is not beside the project")
    return np.load(path, allow_pickle=False)
