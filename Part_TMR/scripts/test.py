"""Evaluates the retriever: recalls R@1/2/3/5/10 and median rank in both directions, by protocol; some neighbours."""

from options.command_line import parse
from options.evaluation import RetrieverEvalOptions
from utils.errors import UserError, run_script


def main() -> None:
    """Options -> retriever and split -> table and JSON."""
    options = parse(RetrieverEvalOptions, description=__doc__)

    import numpy as np

    from data.clips import by_source, load_split, read_split
    from models.text_encoder import build_text_encoder
    from Part_TMR.evaluation import evaluate, format_neighbours, format_table
    from pipeline.loader import load_run
    from pipeline.runs import report_folder, runs_of
    from storage.files import write_json
    from utils.device import choose_device

    runs, device = runs_of(options.run), choose_device(options.run.gpu_id)
    spec, run = runs.spec, runs.open(options.run.name, "tmr")
    # Says which captions mean about the same, whatever encoder the run has.
    sentences = build_text_encoder("minilm", device=device)
    checkpoint = run.checkpoint(options.which_epoch)
    retriever = load_run(run, options.which_epoch, device, sentences)
    clips = load_split(spec, options.protocol.split)
    signatures = None
    if spec.name == "mini":
        from data.oracle.scores import attribute_signature, read_attributes

        attributes = read_attributes(spec.root / "attributes.json", clips)
        signatures = [attribute_signature(attributes[clip.id]) for clip in clips]
    captions = [clip.captions[0].text for clip in clips]
    vectors = sentences.encode(captions).cpu().numpy()
    published = spec.split_path("nsim_test")  # TMR's dissimilar pairs of a dataset, where the folder holds them
    listed = set(read_split(published)) if published.is_file() else set()
    few = np.flatnonzero([clip.id in listed for clip in clips])
    motions = [clip.features for clip in clips]
    results = evaluate(retriever, motions, captions, vectors, signatures, few if len(few) else None)
    print(f"retriever {run.folder} ({checkpoint.name}), {spec.name} {options.protocol.split}, {results['pairs']} pairs")
    print(format_table(results))
    print(format_neighbours(results))
    if signatures is not None:
        print(f"a motion of the same attributes among the top 5 of a caption: {results['same_attributes_top5']:.1f} %")
    for source, rows in by_source(clips).items():
        chosen = [motions[row] for row in rows], [captions[row] for row in rows], vectors[rows]
        results.setdefault("sets", {})[source] = part = evaluate(retriever, *chosen)
        print(f"{source} alone, {part['pairs']} pairs")
        print(format_table(part))
    if options.score:
        from models.rag.database import RAGDatabase
        from Part_TMR.evaluation import format_score
        from pipeline.library import split_library, weigh_library

        folder, split = runs.database(options.database), options.protocol.split
        library = RAGDatabase.load(folder, retriever.hash)
        found = weigh_library(runs, retriever, library, split)
        if found is None:
            raise UserError(
                f"--score: {folder} holds no sentence vectors (build it again), or all {split} captions itself"
            )
        print(format_score(split_library(runs, retriever, split), library, found, split))
    path = report_folder(run.folder) / f"{options.protocol.ext}_{options.protocol.split}.json"
    write_json(path, {"checkpoint": checkpoint.name, "dataset": spec.name, "split": options.protocol.split} | results)
    print(f"wrote {path}")


if __name__ == "__main__":
    run_script(main)
