"""What the demo leaves behind: a folder a motion, the motions side by side, and result.json, an index of all."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, ClassVar

from tqdm import tqdm

from models.vocabulary.words import grouped
from options.demo import DemoOptions
from pipeline.demo_folder import INDEX, DemoFolder
from pipeline.export_settings import blender_hint, export_settings
from pipeline.text_to_motion import Motion, TextToMotion
from storage.arrays import write_array
from storage.files import file_hash, remove_abandoned
from storage.row_store import digest
from utils.errors import UserError
from utils.formats import telling
from utils.progress import progress_bar
from utils.schema import to_dict
from visualization.captioned import CaptionedMotion
from visualization.formats import FORMATS, MOST_COMPARED, write_comparison, write_motion

if TYPE_CHECKING:
    from options.edit import EditOptions

FILE_KEYS = {"mp4": ("video",), "png": ("picture",), "npy": ("joints", "features")}  # where not the format's own name
SORTED_AT_ONCE = 1024  # prompts
MOST_LISTED = 16  # motions that are named at the end
MOST_FAILURES = 10  # in a row: then it is not the motions that are at fault


def known_words(t2m: TextToMotion) -> str:
    """The words of the library's captions with their counts, a paragraph a kind.

    Raises:
        UserError: there is no library.
    """
    if t2m.remarks is None:
        raise UserError("--list_words: these models have no library whose captions could be read")
    rows = grouped(t2m.remarks.vocabulary.counts)
    return "\n\n".join(
        f"{name}:\n" + fill(", ".join(f"{word} {count}" for word, count in words), 110) for name, words in rows.items()
    )


class DemoRun:
    """Requests -> files. Each motion is written as soon as it is made; what the folder holds already is left out.

    Args:
        folder: of the results.
        t2m: makes the motions.
        requests: prompt, frames (None: estimated) and seed of each.
        options: how they are made, and what is written.
    """

    decisive: ClassVar = ("no_retrieval", "deterministic_length", "sampling", "files")  # with models and requests

    def __init__(
        self,
        folder: Path,
        t2m: TextToMotion,
        requests: Sequence[tuple[str, int | None, int]],
        options: DemoOptions | EditOptions,
    ) -> None:
        self.folder, self.t2m, self.requests, self.options = folder, t2m, requests, options
        self.form = t2m.spec.format
        self.written = export_settings(options.files, self.form, options.formats)
        settings = to_dict(options)
        self.common = {"settings": {name: settings[name] for name in ("run", "models", *self.decisive)}}
        self.common["settings"]["run"].pop("gpu_id")
        self.common["format"] = telling(self.form)
        others = [file for file in (options.files.target, options.files.target_map) if file and Path(file).is_file()]
        self.keys = self._keys({name: settings[name] for name in self.decisive} | {"others": [*map(file_hash, others)]})
        self.lies = DemoFolder(folder)
        self.there = {number for number, key in enumerate(self.keys) if options.skip_existing and self._is_made(key)}
        compared = self.keys[:MOST_COMPARED] if options.compare and len(requests) > 1 else []
        self.compared = digest(*compared, *options.compare).hex() if compared else ""
        self.panels: dict[int, CaptionedMotion | None] = {}
        shown = self.lies.comparisons.get(self.compared)
        if compared and not (options.skip_existing and shown and self.lies.is_whole(shown)):
            self.panels = dict.fromkeys(range(len(compared)))

    def run(self) -> None:
        """Makes and writes what is missing; says where it lies.

        Raises:
            UserError: a prompt or a length is refused, before anything is written; the folder cannot be written; or
                motions could not be written, after the others are.
        """
        texts = [text for text, *_ in self.requests]
        motions = self._motions(self.there - set(self.panels))
        self.names = self.lies.reserve(dict(zip(self.keys, texts, strict=True)), self.common)
        if self.there:
            again = "--no-skip_existing makes them again"
            print(f"note: {len(self.there)} of {len(texts)} motions are in {self.folder} already ({again})")
        failed, in_a_row = 0, 0
        bar = progress_bar(len(texts) - len(self.there), "generating", "motion")
        try:
            for number, motion in motions:
                try:
                    self._take(number, motion)
                    in_a_row = 0
                except UserError as error:
                    failed, in_a_row = failed + 1, in_a_row + 1
                    tqdm.write(f"error: {self.names[number]}: {' '.join(str(error).split())}", file=sys.stderr)
                    if in_a_row == MOST_FAILURES:
                        raise UserError(f"{in_a_row} motions in a row could not be written: stopped") from error
                self._index()
                bar.update(number not in self.there)
        except (KeyboardInterrupt, SystemExit):
            print(f"{self.folder} holds {self._count()}: the same command goes on from there", file=sys.stderr)
            raise
        finally:
            self._index(now=True)
            bar.close()
        self._report()
        if failed:
            raise UserError(f"{failed} of {len(texts)} motions could not be written: the same command tries them again")

    def _motions(self, skip: Collection[int]) -> Iterator[tuple[int, Motion]]:
        """Numbers of requests and their motions, as they are made; all is checked before the first one."""
        return self.t2m.generate_each(
            *zip(*self.requests, strict=True),
            self.options.sampling,
            retrieval=not self.options.no_retrieval,
            deterministic_length=self.options.deterministic_length,
            batch_size=self.options.batch_size,
            sorted_at_once=SORTED_AT_ONCE,
            skip=skip,
        )

    def _keys(self, settings: dict[str, Any]) -> list[str]:
        """What decides each motion; the second of two equal requests is another motion."""
        common = json.dumps([self.t2m.fingerprint, settings], sort_keys=True)
        seen: Counter[tuple[str, int | None, int]] = Counter()
        keys = []
        for request in self.requests:
            keys.append(digest(common, json.dumps([*request, seen[request]])).hex())
            seen[request] += 1
        return keys

    def _is_made(self, key: str) -> bool:
        """Whether a motion is there in all formats that are wanted."""
        if key not in self.lies.made:
            return False
        files = self.lies.made[key].content["files"]
        return all(name in files for kind in self.options.formats for name in FILE_KEYS.get(kind, (kind,)))

    def _count(self) -> str:
        return f"{sum(key in self.lies.made for key in self.keys)} of {len(self.keys)} motions"

    def _take(self, number: int, motion: Motion) -> None:
        """Writes what is missing of a motion, and once the first ones are made, what shows them side by side."""
        panel = CaptionedMotion(motion.joints, motion.text, f"seed {motion.seed}", motion.retrieved)
        if number in self.panels:
            self.panels[number] = panel
        if number not in self.there:
            self._write(number, motion, panel)
        if self.panels and None not in (panels := list(self.panels.values())):
            self.panels.clear()
            settings = replace(self.written, fps=motion.fps)
            stem = self.folder / self.lies.reserve_comparison(self.compared)
            written = write_comparison(stem, panels, self.options.compare, settings)
            self.lies.add_comparison(self.compared, {"files": {kind: path.name for kind, path in written.items()}})

    def _write(self, number: int, motion: Motion, panel: CaptionedMotion) -> None:
        """The files of one motion, those of other formats that lie there already, and what is told of them."""
        key, name, formats = self.keys[number], self.names[number], self.options.formats
        files = self.lies.made[key].content["files"] if key in self.lies.made else {}
        remove_abandoned(self.folder / name)
        if "npy" in formats:
            for kind, array in (("joints", motion.joints), ("features", motion.features)):
                write_array(self.folder / name / f"{kind}.npy", array)
                files[kind] = f"{name}/{kind}.npy"
        settings = replace(self.written, fps=motion.fps)
        kinds = [kind for kind in formats if kind in FORMATS]
        for kind, path in write_motion(self.folder / name / "motion", panel, kinds, settings).items():
            files[FILE_KEYS.get(kind, (kind,))[0]] = f"{name}/{path.name}"
        told = {
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
        if motion.remark is not None:
            told["remark"] = motion.remark.to_json()
        self.lies.add(key, told)

    def _comparison(self) -> dict[str, str]:
        """The files that show this run's first motions side by side, by format, as far as they are there."""
        made = self.lies.comparisons.get(self.compared)
        return made.content["files"] if made else {}

    def _index(self, now: bool = False) -> None:
        head: dict[str, Any] = {"settings": to_dict(self.options), "format": self.common["format"]}
        if comparison := self._comparison():
            head["comparison"] = comparison
        self.lies.write_index(head, self.common, now)

    def _tell_remarks(self) -> None:
        """What lies outside of what the models know, a line a prompt; of many prompts the first and how many more."""
        told = {}
        for key in self.keys:
            if key in self.lies.made and "remark" in (content := self.lies.made[key].content):
                told[content["prompt"]] = content["remark"]["text"]
        for remark in list(told.values())[:MOST_LISTED]:
            print(f"note: {remark}", file=sys.stderr)
        if len(told) > MOST_LISTED:
            print(f"note: {self.folder / INDEX}: `remark` of all {len(told)} such prompts", file=sys.stderr)

    def _report(self) -> None:
        """Everything that lies there now: the folder of a motion, of the first few, what it shows, and its files."""
        made = [self.lies.made[key] for key in self.keys if key in self.lies.made]
        for sample in (each.content for each in made[:MOST_LISTED]):
            helped = ", ".join(f'"{entry["caption"]}"' for entry in sample["retrieved"][:2])
            seconds = sample["motion_length"] / sample["fps"]
            files = sorted(map(Path, sample["files"].values()), key=lambda file: file.suffix == ".npy")
            told = f"{sample['prompt']!r}, {seconds:.1f} s" + (f", helped by {helped}" if helped else "")
            print(f"{self.folder / files[0].parent}: {told}")
            print("    " + "  ".join(file.name for file in files))
        for file in self._comparison().values():
            note = f", the first {MOST_COMPARED} of {len(self.keys)} motions" if len(self.keys) > MOST_COMPARED else ""
            print(f"{self.folder / file}: side by side{note}")
        listed = f"all {self._count()}" if len(made) > MOST_LISTED else "prompts, seeds and captions"
        print(f"{self.folder / INDEX}: {listed}")
        if hint := blender_hint(self.options.formats, self.written):
            print(hint)
        self._tell_remarks()
