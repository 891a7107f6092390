"""Joints -> SMPL: `python -m fit --dir new_test_npy --save_folder new_temp_npy --cuda cuda:0` (or `--cuda cpu`).

Reads every motion of a folder (BVH, joints as .npy or .npz), and every joints.npy below it, and writes NAME_smpl.npz
(poses, betas, trans, fps) and NAME_mesh.npy (T, V, 3), which render.py shows. Needs
`pip install -r requirements-smpl.txt` and the SMPL body model in body_models/smpl.
"""

from options.command_line import parse
from options.fit import FitOptions
from utils.errors import UserError, run_script


def main() -> None:
    """Options -> motions -> fits -> files."""
    options = parse(FitOptions, description=__doc__)

    from data.motions.folder import motion_paths
    from data.motions.reader import MotionReader
    from pipeline.motions import read_all, read_bodies
    from visualization.smpl_model import find_body_model, load_body_model, require_smplx

    paths = motion_paths(options.dir)
    with_poses = any(path.suffix.lower() == ".npz" for path in paths.values())
    try:
        bodies = read_bodies(options.body_model) if with_poses else {}
    except UserError:
        bodies = {}  # said below, once the motions are known to be good
    motions = read_all(MotionReader(options.reading, bodies=bodies), paths)
    require_smplx()
    path = find_body_model(options.body_model, options.gender)

    from pipeline.fit_output import fit_folder
    from storage.files import result_folder
    from utils.device import choose_device

    with result_folder(options.save_folder) as folder:
        model = load_body_model(path, options.num_betas).to(choose_device(options.gpu_id))
        timed = {name: (motion.joints, options.fps or motion.fps) for name, motion in motions.items()}
        fit_folder(timed, model, folder, options.iterations, options.gender)


if __name__ == "__main__":
    run_script(main)
