"""Joints -> SMPL: `python -m fit --dir new_test_npy --save_folder new_temp_npy --cuda cuda:0` (or `--cuda cpu`).

Reads every joints file (T, 22, 3) of a folder, and every joints.npy below it, and writes NAME_smpl.npz (poses, betas,
trans, fps) and NAME_mesh.npy (T, V, 3), which render.py shows. Needs `pip install -r requirements-smpl.txt` and the
SMPL body model in body_models/smpl.
"""

from options.schema import parse
from options.stages import FitOptions
from utils.errors import run_script


def main() -> None:
    """Options -> motions -> fits -> files."""
    options = parse(FitOptions, description=__doc__)

    from visualization.motion_files import read_joint_folder
    from visualization.smpl_model import find_body_model, load_body_model, require_smplx

    motions = read_joint_folder(options.dir, "humanml3d")
    require_smplx()
    path = find_body_model(options.body_model, options.gender)

    from utils.device import choose_device
    from utils.files import result_folder
    from visualization.smpl_fit import FitSettings, fit_folder

    with result_folder(options.save_folder) as folder:
        model = load_body_model(path, options.num_betas).to(choose_device(options.gpu_id))
        settings = FitSettings(iterations=options.iterations)
        fit_folder(motions, model, folder, options.fps, settings, gender=options.gender)


if __name__ == "__main__":
    run_script(main)
