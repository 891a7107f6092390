"""Your motions and captions -> a dataset in HumanML3D's layout, which every other command takes by its name:

python prepare_dataset.py --motion_dir my_bvh --text_dir my_texts --out dataset/mine
"""

from options.command_line import parse
from options.prepare import PrepareOptions
from utils.errors import run_script


def main() -> int:
    """Options -> clips -> dataset folder and report. 1 if a clip was refused, 2 if nothing could be prepared."""
    options = parse(PrepareOptions, description=__doc__)

    from pipeline.preparation import prepare_dataset

    return prepare_dataset(options)


if __name__ == "__main__":
    run_script(main)
