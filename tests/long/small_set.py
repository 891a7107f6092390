"""Do a handful of clips become a model that does what their captions say?

    python -m tests.long.small_set --bvh FOLDER --out FOLDER --init_from pretrained/open --minutes 20

FOLDER holds BVH files, with captions in FOLDER/texts; the actions are told by the names (`--action`, a pattern with a
group). They are prepared with their mirror images and trained by reproduce_dataset.sh. Then the first caption of each
clip asks, with some seeds, at the clip's length. Right: of all clips, the motion is nearest to one of the same action
in neck, wrists and ankles about the root after the best alignment in time, as `tests.long.imitation` measures it, and
its path is as long as that clip's within a metre. Told too: how far two clips of one action and of two are from each
other, and processor seconds. Pictures of the first seed's motions lie in OUT/pictures.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from data.clips import Clip, load_split, names_none
from data.specs import SPLITS, get_spec
from pipeline import TextToMotion
from tests.long.imitation import distance, ways
from utils.representation import features_to_joints

ROOT = Path(__file__).parents[2]
PATH_WITHIN = 1.0  # metres


def call(*words: object, **variables: object) -> float:
    """Runs a command; processor seconds. Some clips may be refused."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    code = subprocess.run([*map(str, words)], cwd=ROOT, env=environment).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code not in (0, 1):
        raise SystemExit(f"failed: {words}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def path_length(joints: np.ndarray) -> float:
    """Way of the root over the floor, metres, of joints (T, J, 3), without what is noise from frame to frame."""
    places = joints[::5, 0, [0, 2]]
    return float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())


def main() -> None:
    """Prepares, trains, judges, draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bvh", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--action", default=r"_(.+?)_")
    parser.add_argument("--init_from")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--split", default="0.8,0.05,0.15")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    out = given.out.resolve()
    data, logs, database = out / "mine", out / "logs", out / "database"
    if not data.is_dir():
        words = ["--motion_dir", given.bvh, "--text_dir", given.bvh / "texts", "--out", data, "--split", given.split]
        call(sys.executable, "prepare_dataset.py", *words, "--mirror", "--min_frames", 32)
    start = ["--init_from", given.init_from] if given.init_from else []
    limit = ["--minutes", given.minutes] if given.minutes else []
    places = {"LOGS": logs, "DATABASE": database, "OUTPUTS": out / "outputs", "GPU": "-1"}
    seconds = call("bash", "reproduce_dataset.sh", data, *start, *limit, **places)
    print(f"{seconds:.0f} processor seconds of training")
    t2m = TextToMotion.load(str(logs), str(data), database=str(database))
    shown = judge(t2m, data, given.action, given.seeds)
    prompts = out / "prompts.txt"
    prompts.write_text("\n".join(shown) + "\n", encoding="utf-8")
    words = ["--text_path", prompts, "--dataset_name", data, "--checkpoints_dir", logs, "--database", database]
    call(sys.executable, "demo.py", *words, "--output_dir", out, "--ext", "pictures", "--formats", "mp4", "png")


def judge(t2m: TextToMotion, data: Path, pattern: str, n_seeds: int) -> list[str]:
    """Prints a line a clip, then how many captions are done; a caption of each action."""
    spec, form = get_spec(str(data)), t2m.spec.format
    clips: list[Clip] = []
    splits: dict[str, str] = {}
    for split in SPLITS:
        for clip in load_split(spec, split) if not names_none(spec, split) else ():
            if not clip.id.startswith("M"):
                clips.append(clip)
                splits[clip.id] = split
    actions = [re.search(pattern, clip.id)[1] for clip in clips]
    targets = [ways(np.asarray(clip.features), form) for clip in clips]
    between = {True: [], False: []}
    for one in range(len(clips)):
        for other in range(one):
            between[actions[one] == actions[other]].append(distance(targets[one], targets[other]))
    apart = {"one": between[True], "two": between[False]}
    told = ", ".join(f"of {name} {100 * np.mean(each):.1f} cm" for name, each in apart.items() if each)
    print(f"{len(clips)} clips of {len(set(actions))} actions; clips {told} apart in the mean")
    done: dict[str, list[bool]] = {}
    for clip, action, own in zip(clips, actions, targets, strict=True):
        text, seeds = clip.captions[0].text, list(range(n_seeds))
        motions = t2m.generate([text] * len(seeds), lengths=len(own), seed=seeds)
        rows = [[distance(ways(motion.features, form), other) for other in targets] for motion in motions]
        way = path_length(features_to_joints(np.asarray(clip.features), form))
        paths = [path_length(motion.joints) for motion in motions]
        right = [
            actions[int(np.argmin(row))] == action and abs(path - way) < PATH_WITHIN
            for row, path in zip(rows, paths, strict=True)
        ]
        done.setdefault(action, []).extend(right)
        nearest = np.mean([min(row) for row in rows])
        print(
            f"{clip.id:46} {splits[clip.id]:5} right {sum(right)} of {len(seeds)}; nearest {100 * nearest:5.1f} cm;"
            f" path {np.mean(paths):.1f} m of {way:.1f}  {text}",
            flush=True,
        )
    for action, right in done.items():
        print(f"{action}: {sum(right)} of {len(right)}")
    return [next(clip.captions[0].text for clip, each in zip(clips, actions, strict=True) if each == a) for a in done]


if __name__ == "__main__":
    main()
