"""Searches the RAG database: `python -m Part_TMR.scripts.search --text "a person waves" --k 5`."""

from functools import cache
from pathlib import Path
from typing import Any

from options.command_line import parse
from options.library import SearchOptions
from utils.errors import run_script


def main() -> None:
    """Options -> retriever and database -> the nearest motions, as a table, a file, a video."""
    options = parse(SearchOptions, description=__doc__)

    from models.rag.database import RAGDatabase
    from Part_TMR.found import describe
    from Part_TMR.library import read_motion, reader_for
    from pipeline.library import library_motion
    from pipeline.loader import load_run
    from pipeline.motions import read_bodies
    from pipeline.runs import runs_of
    from storage.files import write_json
    from utils.device import choose_device
    from utils.representation import features_to_joints
    from visualization.encode import check_suffix
    from visualization.video import render_video

    runs, device = runs_of(options.run), choose_device(options.run.gpu_id)
    spec = runs.spec
    if options.video is not None:
        check_suffix(Path(options.video))
    run, folder = runs.open(options.run.name, "tmr"), runs.database(options.database)
    retriever = load_run(run, options.which_epoch, device)
    database = RAGDatabase.load(folder, retriever.hash)
    if options.text is not None:
        query, by = retriever.queries([options.text]), options.by or "both"
    else:
        reader = reader_for(spec, options.reading, read_bodies(options.body_model))
        features = read_motion(options.motion, spec, reader.agreed([Path(options.motion)]))
        query, by = retriever.encode_motion([features]).motion, options.by or "motion"
    found = database.search(query, options.k, by=by)
    numbers = found.indices[0].tolist()
    rows: list[dict[str, Any]] = [
        {"rank": rank, "score": round(score, 4), "id": database.entries[i].id, "captions": database.entries[i].captions}
        for rank, (i, score) in enumerate(zip(numbers, found.scores[0].tolist(), strict=True), start=1)
    ]
    shown = [row["captions"][0] for row in rows]
    if options.text is not None:
        described = describe(retriever, database, query, found)[0]
        shown = [each.caption for each in described]
        for row, each in zip(rows, described, strict=True):
            more = {"caption": each.caption, "text": round(each.text, 4), "motion": round(each.motion, 4)}
            row |= more | {"exact": each.exact}
    if len(rows) < options.k:
        print(f"{folder} has only {len(rows)} motions: all of them are shown")
    if options.text is not None:
        print(f"{'':>3}  total   text motion")
    for row, caption in zip(rows, shown, strict=True):
        parts = f" {row['text']:6.3f} {row['motion']:6.3f}" if "text" in row else ""
        note = " (this very caption)" if row.get("exact") else ""
        print(f"{row['rank']:>3}  {row['score']:.3f}{parts}  {row['id']:<12} {caption}{note}")
    if options.json is not None:
        write_json(options.json, {"query": options.text or options.motion, "by": by, "found": rows})
    if options.video is not None:
        tokenizer = cache(lambda name: load_run(runs.open(name, "vq"), None, device))
        motions = [library_motion(database, i, spec, tokenizer) for i in numbers]
        joints = [features_to_joints(motion, spec.format) for motion in motions]
        labels = [f"{rank}. {caption}" for rank, caption in enumerate(shown, start=1)]
        title = options.text or f"like {options.motion}"
        print(render_video(options.video, joints, spec.format.fps, title, spec.format, labels=labels))


if __name__ == "__main__":
    run_script(main)
