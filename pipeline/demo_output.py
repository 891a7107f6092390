"""What the demo leaves behind: a folder a motion, the motions side by side, and one result.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from options.demo import DemoOptions
from pipeline.text_to_motion import Motion
from utils.arrays import write_array
from utils.files import slugify, write_json
from utils.formats import telling
from utils.motion_format import MotionFormat
from utils.schema import to_dict
from visualization.captioned import CaptionedMotion
from visualization.formats import FORMATS, MOST_COMPARED, ExportSettings, write_comparison, write_motion

FILE_KEYS = {"mp4": "video", "png": "picture"}  # what result.json calls a format, where not by its own name


def write_results(folder: Path, motions: Sequence[Motion], form: MotionFormat, options: DemoOptions) -> None:
    """Writes every motion into `folder/NN_prompt/`; beside these go `comparison.*` and an index of all, result.json."""
    panels = [
        CaptionedMotion(motion.joints, motion.text, f"seed {motion.seed}", motion.retrieved) for motion in motions
    ]
    samples = []
    for number, motion in enumerate(tqdm(motions, desc="writing", unit="motion", disable=len(motions) < 2)):
        name = f"{number:02d}_{slugify(motion.text, 40)}"
        samples.append(_sample(motion, _write(folder, name, motion, panels[number], form, options)))
    index: dict[str, Any] = {"settings": to_dict(options), "format": telling(form), "samples": samples}
    if len(motions) > 1 and options.compare:
        settings = ExportSettings(motions[0].fps, form)
        written = write_comparison(folder / "comparison", panels[:MOST_COMPARED], options.compare, settings)
        index["comparison"] = {kind: path.name for kind, path in written.items()}
    write_json(folder / "result.json", index)
    _report(folder, index)


def _write(
    folder: Path, name: str, motion: Motion, panel: CaptionedMotion, form: MotionFormat, options: DemoOptions
) -> dict[str, str]:
    """The files of one motion, relative to `folder`, by what result.json calls them."""
    files = {}
    if "npy" in options.formats:
        for kind, array in (("joints", motion.joints), ("features", motion.features)):
            write_array(folder / name / f"{kind}.npy", array)
            files[kind] = f"{name}/{kind}.npy"
    kinds = [kind for kind in options.formats if kind in FORMATS]
    settings = ExportSettings(motion.fps, form, foot_locking=options.foot_lock)
    for kind, path in write_motion(folder / name / "motion", panel, kinds, settings).items():
        files[FILE_KEYS.get(kind, kind)] = f"{name}/{path.name}"
    return files


def _sample(motion: Motion, files: dict[str, str]) -> dict[str, Any]:
    """What result.json says of one motion."""
    return {
        "prompt": motion.text,
        "seed": motion.seed,
        "motion_length": len(motion.features),
        "fps": motion.fps,
        "retrieved": [
            {"motion_id": motion_id, "caption": caption, "score": round(score, 4)}
            for motion_id, caption, score in motion.retrieved
        ],
        "files": files,
    }


def _report(folder: Path, index: dict[str, Any]) -> None:
    """A line a motion: its first file, prompt, length, and the captions that helped."""
    for sample in index["samples"]:
        helped = ", ".join(f'"{entry["caption"]}"' for entry in sample["retrieved"][:2])
        seconds = sample["motion_length"] / sample["fps"]
        shown = sample["files"].get("video") or next(iter(sample["files"].values()))
        print(f"{folder / shown}: {sample['prompt']!r}, {seconds:.1f} s" + (f", helped by {helped}" if helped else ""))
    for file in index.get("comparison", {}).values():
        several = len(index["samples"])
        note = f", the first {MOST_COMPARED} of {several} motions" if several > MOST_COMPARED else ""
        print(f"{folder / file}: side by side{note}")
