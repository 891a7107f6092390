"""Evaluates the retriever: recalls R@1/2/3/5/10 and median rank in both directions, by protocol; some neighbours."""

from options.command_line import parse
from options.stages import RetrieverEvalOptions
from utils.errors import run_script


def main() -> None:
    """Options -> retriever and split -> table and JSON."""
    options = parse(RetrieverEvalOptions, description=__doc__)

    import numpy as np

    from data.clips import load_split
    from data.specs import get_spec
    from models.text_encoder import build_text_encoder
    from Part_TMR.evaluation import evaluate, format_neighbours, format_table
    from Part_TMR.retriever import Retriever
    from pipeline.runs import run_folder
    from utils.device import choose_device
    from utils.files import read_json, write_json
    from utils.run_files import resolve_checkpoint

    spec = get_spec(options.run.dataset_name)
    device = choose_device(options.run.gpu_id)
    run_dir = run_folder(options.run.checkpoints_dir, spec, options.run.name)
    # Says which captions mean about the same, whatever encoder the run has.
    sentences = build_text_encoder("minilm", device=device)
    checkpoint = resolve_checkpoint(run_dir, options.which_epoch)
    retriever = Retriever.load(run_dir, device, sentences, checkpoint)
    clips = load_split(spec, options.protocol.split)
    signatures = None
    if spec.name == "mini":
        from data.oracle.scores import attribute_signature

        attributes = read_json(spec.root / "attributes.json")
        signatures = [attribute_signature(attributes[clip.id]) for clip in clips]
    captions = [clip.captions[0].text for clip in clips]
    vectors = sentences.encode(captions).cpu().numpy()
    published = spec.split_path("nsim_test")  # TMR's dissimilar pairs of a dataset, where the folder holds them
    listed = set(published.read_text(encoding="utf-8").split()) if published.is_file() else set()
    few = np.flatnonzero([clip.id in listed for clip in clips])
    motions = [clip.features for clip in clips]
    results = evaluate(retriever, motions, captions, vectors, signatures, few if len(few) else None)
    print(f"retriever {run_dir} ({checkpoint.name}), {spec.name} {options.protocol.split}, {results['pairs']} pairs")
    print(format_table(results))
    print(format_neighbours(results))
    if signatures is not None:
        print(f"a motion of the same attributes among the top 5 of a caption: {results['same_attributes_top5']:.1f} %")
    path = run_dir / "eval" / f"{options.protocol.ext}_{options.protocol.split}.json"
    write_json(path, {"checkpoint": checkpoint.name, "dataset": spec.name, "split": options.protocol.split} | results)
    print(f"wrote {path}")


if __name__ == "__main__":
    run_script(main)
