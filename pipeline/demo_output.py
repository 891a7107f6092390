"""What the demo leaves behind: a folder a motion (video, BVH, joints, features) and one result.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from options.schema import to_dict
from options.stages import DemoOptions
from pipeline.text_to_motion import Motion
from utils.files import slugify, write_array, write_json
from visualization.bvh import write_bvh
from visualization.video import render_video


def write_results(folder: Path, motions: Sequence[Motion], layout: str, options: DemoOptions) -> None:
    """Writes every motion into `folder/NN_prompt/` and an index of all into `folder/result.json`."""
    samples = []
    for number, motion in enumerate(tqdm(motions, desc="writing", unit="motion", disable=len(motions) < 2)):
        name = f"{number:02d}_{slugify(motion.text, 40)}"
        target = folder / name
        write_array(target / "joints.npy", motion.joints)
        write_array(target / "features.npy", motion.features)
        write_bvh(target / "motion.bvh", motion.joints, motion.fps, dataset=layout)
        render_video(target / "motion.mp4", motion.joints, motion.fps, title=motion.text, dataset=layout)
        samples.append(
            {
                "prompt": motion.text,
                "seed": motion.seed,
                "motion_length": len(motion.features),
                "fps": motion.fps,
                "retrieved": [
                    {"motion_id": motion_id, "caption": caption, "score": round(score, 4)}
                    for motion_id, caption, score in motion.retrieved
                ],
                "files": {
                    kind: f"{name}/{file}"
                    for kind, file in (
                        ("video", "motion.mp4"),
                        ("bvh", "motion.bvh"),
                        ("joints", "joints.npy"),
                        ("features", "features.npy"),
                    )
                },
            }
        )
    write_json(folder / "result.json", {"settings": to_dict(options), "samples": samples})
    for sample in samples:
        helped = ", ".join(f'"{entry["caption"]}"' for entry in sample["retrieved"][:2])
        seconds = sample["motion_length"] / sample["fps"]
        print(
            f"{folder / sample['files']['video']}: {sample['prompt']!r}, {seconds:.1f} s"
            + (f", helped by {helped}" if helped else "")
        )
