"""Files of motions: skeletons of every kind, joints, SMPL parameters, meshes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.captions import Caption
from data.motions.reader import MotionReader
from data.motions.settings import ReadSettings
from data.motions.smpl import BodyShape
from data.prepare.clip import ClipJob, make_clip
from data.prepare.settings import ClipSettings
from data.prepare.sources import Source
from storage.arrays import read_arrays
from tests.data.prepare.bodies import named_like, walking_body, write_amc, write_bvh
from tests.fuzz.kinds import Kind
from tests.fuzz.mutations import BYTES, NPY, NPZ, TEXT
from utils.errors import UserError
from visualization.body_mesh import read_mesh

BODY = BodyShape(np.cumsum(np.ones((22, 3)), axis=0) / 10, np.ones((22, 3, 4)) / 50)
CAPTIONS = (Caption("a person walks", ("a/DET", "person/NOUN", "walk/VERB")),)


def _bvh(folder: Path) -> list[Path]:
    body = walking_body(2.5)
    return [
        write_bvh(folder / "a.bvh", named_like(body, "mixamo"), 20),
        write_bvh(folder / "b.bvh", body, 30, order="XYZ", all_positions=True, metres=1),
    ]


def _amc(folder: Path) -> list[Path]:
    return [write_amc(folder / "01_01.amc", walking_body(2.5)), folder / "01.asf"]


def _prepare_amc(path: Path) -> object:
    return _prepare_clip(path.with_name("01_01.amc"))


def _joints(folder: Path) -> list[Path]:
    np.save(folder / "a.npy", walking_body(2.5).joints().astype(np.float32))
    np.savez(folder / "b.npz", joints=walking_body(1, 30).joints(), fps=np.array(30.0))
    return [folder / "a.npy"]


def _archives(folder: Path) -> list[Path]:
    body = walking_body(2.5)
    np.savez_compressed(folder / "a.npz", joints=body.joints(), fps=np.array(20.0))
    poses = np.concatenate([body.turns.reshape(len(body.turns), -1), np.zeros((len(body.turns), 90))], axis=1)
    told = {"trans": body.root, "betas": np.zeros(16), "gender": np.array("male"), "mocap_framerate": np.array(60)}
    np.savez(folder / "b.npz", poses=poses.astype(np.float32), **told)
    return [folder / "a.npz", folder / "b.npz"]


def _prepare_clip(path: Path) -> object:
    """As prepare_dataset.py makes a clip of it; also what its sample of all motions sees."""
    reader = MotionReader(ReadSettings(), bodies={"neutral": BODY}).agreed([path])
    settings = ClipSettings(up=tuple(reader.axes.items()), min_frames=4)
    job = ClipJob(Source("a", path), CAPTIONS, "Ma", "")
    for name in ("new_joint_vecs", "new_joints", "texts"):
        (path.parent / "out" / name).mkdir(parents=True)
    record = make_clip(job, path.parent, path.parent / "out", settings, {"neutral": BODY})
    if record.reason:
        raise UserError(record.reason)
    return record


def _mesh(folder: Path) -> list[Path]:
    np.save(folder / "a_mesh.npy", np.random.default_rng(0).normal(size=(3, 8, 3)))
    faces = np.arange(8).reshape(-1, 1).repeat(3, axis=1)
    told = {"poses": np.zeros((3, 72)), "betas": np.zeros(10), "trans": np.zeros((3, 3)), "fps": 20.0, "gender": "male"}
    np.savez_compressed(folder / "a_smpl.npz", faces=faces, **told)
    return [folder / "a_mesh.npy", folder / "a_smpl.npz"]


def _figure(path: Path) -> object:
    return read_mesh(path.with_name("a_mesh.npy"))


KINDS = (
    Kind("bvh", _bvh, _prepare_clip, TEXT, 4),
    Kind("amc and asf", _amc, _prepare_amc, TEXT, 4),
    Kind("joints npy", _joints, _prepare_clip, NPY, 3),
    Kind("motion npz", _archives, _prepare_clip, NPZ, 5),
    Kind("mesh", _mesh, _figure, NPY + NPZ, 2),
    Kind("arrays", _archives, read_arrays, NPZ + BYTES, 2),
)
