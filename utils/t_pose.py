"""The rest pose of animation files: a T-pose, told by the joints' names.

y is up, the body faces +z, its left is +x.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HEAD_DIRECTION = np.array([0.0, 0.90, 0.44])  # from neck to head, upright
FOOT_DIRECTION = np.array([0.0, -0.45, 0.89])  # from ankle to toe of a flat foot


def t_pose_directions(names: Sequence[str]) -> np.ndarray:
    """(N, 3) unit directions of the bones that end in joints `names`: a T-pose that faces +z, the left at +x."""
    rest = np.tile(np.array([0.0, 1.0, 0.0]), (len(names), 1))
    for node, name in enumerate(names):
        side = 1.0 if name.startswith("left") else -1.0
        if name.endswith(("hip", "collar", "shoulder", "elbow", "wrist")):
            rest[node] = [side, 0, 0]
        elif name.endswith(("knee", "ankle")):
            rest[node] = [0, -1, 0]
        elif name.endswith(("heel", "foot", "toe")):
            rest[node] = FOOT_DIRECTION / np.linalg.norm(FOOT_DIRECTION)
        elif name == "head":
            rest[node] = HEAD_DIRECTION / np.linalg.norm(HEAD_DIRECTION)
    return rest
