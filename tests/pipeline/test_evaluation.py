"""Repeats, rows, reports: what an evaluation makes of motions, whatever made them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.clips import Caption, Clip, load_split
from data.specs import get_spec, moved
from models.configs import RVQConfig, SamplingSettings
from models.vq.rvq import RVQVAE
from options.command_line import parse
from options.evaluation import EvalResOptions, ProtocolOptions
from pipeline.evaluation.generators import _sources, _targets
from pipeline.evaluation.kept import KeptScores
from pipeline.evaluation.protocols import Fixed, Generated, GroundTruthBase
from pipeline.evaluation.run import Evaluation
from pipeline.evaluation.samples import draw_samples
from pipeline.evaluation.scores import Scorer
from pipeline.runs import runs_of
from storage.files import write_json
from tests.data.test_several import write_set
from utils import metrics
from utils.errors import UserError
from utils.formats import HUMANML3D, get_format

WIDTH = 263


class ColumnEvaluator:
    """Embeds a motion as its mean in two columns, a caption as the two numbers in it."""

    name, fingerprint, dimension = "columns", "0123", 2

    def __init__(self) -> None:
        self.embedded = 0

    def embed_text(self, captions) -> np.ndarray:
        return np.array([[float(word) for word in caption.text.split()] for caption in captions])

    def embed_motion(self, motions) -> np.ndarray:
        self.embedded += len(motions)
        return np.stack([motion[:, 4:6].mean(axis=0) for motion in motions])


class NoisySource:
    """The clips with noise that follows from the seed."""

    name, multimodal = "res", True

    def __init__(self, clips, noise: float) -> None:
        self.clips, self.noise = clips, noise

    def motions(self, samples, seed: int) -> list[np.ndarray]:
        generator = np.random.default_rng(seed)
        rows = [self.clips[sample.clip_index].features[: sample.frames] for sample in samples]
        return [row + self.noise * generator.normal(size=(1, WIDTH)) for row in rows]


@pytest.fixture
def evaluation() -> Evaluation:
    generator = np.random.default_rng(0)
    clips = []
    for number in range(40):
        features = np.zeros((40, WIDTH), dtype=np.float32)
        features[:, 4:6] = generator.normal(size=2)
        texts = [" ".join(map(str, features[0, 4:6] + shift)) for shift in (0.0, 0.01)]
        clips.append(Clip(f"{number:06d}", f"{number:06d}", features, [Caption(text, ()) for text in texts]))
    made = Evaluation.__new__(Evaluation)
    made.spec = SimpleNamespace(name="mini", max_frames=196)
    made.protocol = ProtocolOptions(repeat_times=3, report=True)
    made.device, made.clips, made.evaluator, made.codebook_use = torch.device("cpu"), clips, ColumnEvaluator(), 0.5
    made.scorer = Scorer(clips, HUMANML3D, made.evaluator, None)
    features = [clip.features for clip in clips]
    made.references = [Fixed("real", features), Fixed("vq", [row + 0.01 for row in features], reconstructed=True)]
    return made


def test_one_seed_gives_one_json(evaluation: Evaluation, tmp_path: Path) -> None:
    for name in ("a", "b"):
        evaluation.run([NoisySource(evaluation.clips, 0.5)], "protocol res", tmp_path / name, {"flag": 1}, (4, 5))
    first, second = ((tmp_path / name / "eval.json").read_bytes() for name in ("a", "b"))
    assert first == second
    content = json.loads(first)
    assert content["settings"] == {"flag": 1, "evaluator": {"name": "columns", "fingerprint": "0123"}}
    assert list(content["rows"]) == ["real", "vq", "res"]
    fid = content["rows"]["res"]["fid"]
    assert len(fid["values"]) == 3 and len(set(fid["values"])) == 3 and fid["interval"] > 0
    assert content["rows"]["real"]["fid"]["mean"] < content["rows"]["vq"]["fid"]["mean"] < fid["mean"]
    assert content["rows"]["vq"]["codebook_use"]["mean"] == 0.5 and "mpjpe" not in content["rows"]["res"]


def test_each_of_several_datasets_has_rows_of_its_own(evaluation: Evaluation, tmp_path: Path) -> None:
    """Beside those of all; the oracle, which knows one of the sets, judges that one."""
    evaluation.clips = [replace(clip, id=f"{'ab'[n % 2]}/{clip.id}") for n, clip in enumerate(evaluation.clips)]
    walk = {"segments": [{"locomotion": "walk", "direction": "forward"}]}
    known = {clip.id: walk for clip in evaluation.clips if clip.source == "a"}
    evaluation.scorer = Scorer(evaluation.clips, HUMANML3D, evaluation.evaluator, known)
    rows = evaluation.run([NoisySource(evaluation.clips, 0.5)], "protocol res", tmp_path, {}, (4, 5))
    assert list(rows) == [f"{row}{of}" for of in ("", " [a]", " [b]") for row in ("real", "vq", "res")]
    assert [name for name, row in rows.items() if "semantic_accuracy" in row] == ["real [a]", "vq [a]", "res [a]"]
    real = np.stack([clip.features[:, 4:6].mean(axis=0) for clip in evaluation.clips[::2]])
    own = metrics.frechet_distance(real, real + np.float32(0.01))
    assert rows["vq [a]"]["fid"] == [pytest.approx(own, rel=1e-3)] * 3
    assert len(set(rows["res [b]"]["fid"])) == 3 and not any("/" in name for row in rows.values() for name in row)
    assert evaluation.run([NoisySource(evaluation.clips, 0.5)], "protocol res", tmp_path, {}, (4, 5)) == rows
    assert "| res [b] |" in (tmp_path / "eval.md").read_text()


def test_the_oracle_reads_what_each_set_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        write_set(tmp_path / name, seed)
    spec = get_spec("a,b")
    clips = load_split(spec, "val")
    assert Evaluation._attributes(spec, clips) is None
    walk = {"segments": [{"locomotion": "walk", "direction": "forward"}]}
    write_json(tmp_path / "b" / "attributes.json", {"000003": walk})
    assert Evaluation._attributes(spec, clips) == {"b/000003": walk}
    assert Evaluation._attributes(get_spec("b"), load_split(get_spec("b"), "val")) == {"000003": walk}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_numbers_of_a_handful_of_clips_are_marked(count: int, evaluation: Evaluation, tmp_path: Path, capsys) -> None:
    """FID of as many clips as dimensions is none; R-precision among fewer than 32 says so, in table, page and JSON."""
    evaluation.clips = [replace(clip, id=f"{'ab'[n >= count]}/{n}") for n, clip in enumerate(evaluation.clips)]
    for own, of in ((evaluation.clips, " [a]"), (evaluation.clips[:count], "")):
        evaluation.clips = [replace(clip, id=clip.id[2 * (of == "") :]) for clip in own]
        evaluation.scorer = Scorer(evaluation.clips, HUMANML3D, evaluation.evaluator, None)
        evaluation.references = [Fixed("real", [clip.features for clip in own])]
        rows = evaluation.run([NoisySource(evaluation.clips, 0.5)], "protocol res", tmp_path, {}, (1, 2))
        told, content = capsys.readouterr(), json.loads((tmp_path / "eval.json").read_text())
        few = f"FID{of}: n/a ({count} clips); it compares covariances in 2 dimensions, which takes more than 2 clips"
        pool = f"R@1 to R@3{of}: among {count} candidates, not 32; chance is {1 / count:.2f}, not 0.03"
        notes = content["notes"]
        assert [note for note in notes if note.startswith(pool)] and (few in notes) == (count <= 2)
        assert all(note in told.out and note in (tmp_path / "eval.md").read_text() for note in notes) and not told.err
        row = content["rows"][f"res{of}"]
        assert ("n/a" in told.out) == (count <= 2) and (rows[f"res{of}"]["fid"] == []) == (count <= 2)
        assert (row["fid"] == {"mean": None, "interval": None, "values": []}) == (count <= 2)
        assert not of or content["rows"]["res"]["fid"]["mean"] > 0, "of all together it is one"


def test_enough_clips_need_no_notes(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.run([], "protocol res", tmp_path, {})
    assert "notes" not in json.loads((tmp_path / "eval.json").read_text())


class Stopped(Exception):
    """Stands for a kill."""


class StoppedSource(NoisySource):
    """Works for some repeats, multimodality's included."""

    def __init__(self, clips, noise: float, calls: int) -> None:
        super().__init__(clips, noise)
        self.calls = calls

    def motions(self, samples, seed: int) -> list[np.ndarray]:
        self.calls -= 1
        if self.calls < 0:
            raise Stopped
        return super().motions(samples, seed)


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_a_stopped_evaluation_goes_on_to_the_same_json(
    finished: int, evaluation: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    settings = {"protocol": {"repeat_times": 3, "seed": 3407}}

    def run(folder: str, source: NoisySource, **changed: object) -> bytes:
        how = {"settings": settings, "models": "weights"} | changed
        evaluation.run([source], "protocol res", tmp_path / folder, multimodality=(4, 5), **how)
        return (tmp_path / folder / "eval.json").read_bytes()

    whole = run("whole", NoisySource(evaluation.clips, 0.5))
    assert "note:" not in capsys.readouterr().out
    calls = 2 * finished + 1  # the next repeat's motions are made, those for its multimodality are not
    with pytest.raises(Stopped):
        run("stopped", StoppedSource(evaluation.clips, 0.5, calls))
    assert not list((tmp_path / "stopped").glob("eval.*"))
    for other in ({"models": "others"}, {"settings": settings | {"flag": 1}}):
        with pytest.raises(Stopped):  # what is kept is not theirs
            run("stopped", StoppedSource(evaluation.clips, 0.5, calls), **other)
    rest = StoppedSource(evaluation.clips, 0.5, 6 - 2 * finished)
    assert run("stopped", rest) == whole and rest.calls == 0
    told = f"{2 * (finished + 1) + finished} of 9 rows of repeats are those of a run that was stopped"
    assert f"note: {told}" in capsys.readouterr().out and told in (tmp_path / "stopped" / "eval.log").read_text()
    left = [path.name for path in (tmp_path / "stopped").iterdir() if path.name.startswith(".")]
    assert len(left) == 2, "what was kept of the finished run stays, or that of the others is gone"


def test_what_is_kept_may_be_damaged_and_stays_for_several_targets(evaluation: Evaluation, tmp_path: Path) -> None:
    kept: list[KeptScores] = []
    first = evaluation.run([NoisySource(evaluation.clips, 0.5)], "t", tmp_path, {}, kept=kept)
    again = StoppedSource(evaluation.clips, 0.5, 0)
    assert evaluation.run([again], "t", tmp_path, {}, kept=kept) == first, "a finished target is scored again"
    for damage in (b"", b"[]", b"{", b'{"res, repeat 0": 1}'):
        kept[0].path.write_bytes(damage)
        with pytest.raises(Stopped):
            evaluation.run([again], "t", tmp_path, {}, kept=kept)
    kept[0].forget()
    assert not list(tmp_path.glob(".*"))


def test_real_motions_are_embedded_once(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.run([], "protocol vq", tmp_path, {})
    # The clips for FID, the row `real` and the row `vq`; three repeats add nothing.
    assert evaluation.evaluator.embedded == 3 * len(evaluation.clips)


def test_multimodality_is_the_spread_of_one_captions_motions(evaluation: Evaluation, tmp_path: Path) -> None:
    spread = [
        evaluation.run([NoisySource(evaluation.clips, noise)], "t", tmp_path, {}, (4, 10))["res"]["multimodality"]
        for noise in (0.0, 0.5, 1.0)
    ]
    assert spread[0] == pytest.approx([0, 0, 0], abs=1e-6)
    np.testing.assert_allclose(spread[2], 2 * np.array(spread[1]), rtol=1e-4)
    fixed = NoisySource(evaluation.clips, 0.5)
    fixed.multimodal = False
    assert "multimodality" not in evaluation.run([fixed], "t", tmp_path, {}, (4, 10))["res"]


def test_scores_are_those_of_the_metrics(evaluation: Evaluation) -> None:
    samples = draw_samples(evaluation.clips, 1, 0, 196)
    motions = NoisySource(evaluation.clips, 0.3).motions(samples, 5)
    measured = evaluation.scorer.measure(motions, [sample.clip_index for sample in samples], False)
    numbers = evaluation.scorer.score(measured, samples, np.random.default_rng(2))
    real = np.stack([clip.features[0, 4:6] for clip in evaluation.clips])
    made = np.stack([motion[:, 4:6].mean(axis=0) for motion in motions])
    text = evaluation.evaluator.embed_text([SimpleNamespace(text=sample.text) for sample in samples])
    assert numbers["fid"] == pytest.approx(metrics.frechet_distance(real, made), rel=1e-5)
    assert numbers["matching_score"] == pytest.approx(metrics.matching_score(text, made), rel=1e-5)


def test_captions_and_scores_draw_from_streams_of_their_own(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, made = [], np.random.default_rng

    def watched(seed: object) -> np.random.Generator:
        generator = made(seed)
        states.append(generator.bit_generator.state["state"]["state"])
        return generator

    monkeypatch.setattr(np.random, "default_rng", watched)
    evaluation.run([], "protocol vq", tmp_path, {})
    captions, *scored = states[:3]
    assert captions not in scored and len(set(scored)) == 1, "every row is scored in the same order"


def test_clips_are_decoded_in_batches(evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row `vq`: the same numbers as clip by clip, in few passes."""
    torch.manual_seed(0)
    vq = RVQVAE(
        RVQConfig(width=8, depth=1, code_dim2d=4, nb_code2d=8, num_quantizers=2, merge_parts="early"),
        get_format("humanml3d"),
    )
    vq.train()(torch.randn(4, 40, WIDTH))
    vq.eval()
    generator = np.random.default_rng(0)
    motions = [generator.normal(size=(frames, WIDTH)).astype(np.float32) for frames in (48, 40, 44, 40, 60)]
    alone = [vq.decode(vq.encode(torch.from_numpy(row)[None]))[0].detach().numpy() for row in motions]
    clips = [replace(evaluation.clips[0], features=motion) for motion in motions]
    monkeypatch.setattr("pipeline.evaluation.run.load_split", lambda spec, split: clips)
    monkeypatch.setattr(Evaluation, "_load_evaluator", lambda *_, **__: evaluation.evaluator)
    calls, decode = [], vq.decode
    monkeypatch.setattr(vq, "decode", lambda *inputs: calls.append(inputs) or decode(*inputs))
    spec = moved(get_spec("humanml3d"), tmp_path)
    made = Evaluation(spec, evaluation.protocol, vq, "logs", torch.device("cpu"))
    assert len(calls) == 1
    for expected, row in zip(alone, made.references[1].motions, strict=True):
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_random_retrieval_draws_different_motions() -> None:
    t2m = SimpleNamespace(database=range(5), n_retrieved=4)
    samples = [None] * 200
    drawn = Generated("res", t2m, [], SamplingSettings(), "random")._retrieved(samples, 3)
    assert drawn.shape == (200, 4) and drawn.min() == 0 and drawn.max() == 4
    assert all(len(set(row)) == 4 for row in drawn.tolist())
    assert torch.equal(drawn, Generated("res", t2m, [], SamplingSettings(), "random")._retrieved(samples, 3))
    t2m.n_retrieved = 9
    few = Generated("res", t2m, [], SamplingSettings(), "random")._retrieved(samples, 3)
    assert few.sort(dim=1).values.tolist() == [list(range(5))] * 200, "a small library"


def test_report_is_a_page_with_a_picture(evaluation: Evaluation, tmp_path: Path) -> None:
    sources = [NoisySource(evaluation.clips, noise) for noise in (0.5, 0.2, 0.9)]
    for source, suffix in zip(sources, ("", ", cond_scale 1", ", cond_scale 4"), strict=True):
        source.name += suffix
    evaluation.run(sources, "protocol res", tmp_path, {})
    page = (tmp_path / "eval.md").read_text()
    assert "| res, cond_scale 4 |" in page and "![curves](eval.png)" in page and "seed 3407" in page
    assert (tmp_path / "eval.png").read_bytes().startswith(b"\x89PNG")


def test_rows_of_the_options() -> None:
    t2m = SimpleNamespace(database=None)
    flags = "--dataset_name mini --retrieval off on --sweep_cond_scale 1 4 --sweep_time_steps 5"
    options = parse(EvalResOptions, flags.split())
    rows = _sources(options, "res", t2m, [])
    assert [row.name for row in rows] == [
        "res, retrieval off",
        "res",
        "res, retrieval off, cond_scale 1",
        "res, retrieval off, cond_scale 4",
        "res, retrieval off, time_steps 5",
    ]
    assert [row.retrieval for row in rows] == ["off", "on", "off", "off", "off"]
    assert [row.settings for row in rows[:2]] == [SamplingSettings()] * 2
    assert rows[3].settings.cond_scale == 4 and rows[4].settings.time_steps == 5
    diagnosis = _sources(options, "gt-base", t2m, [])
    assert isinstance(diagnosis[0], GroundTruthBase) and diagnosis[2].settings.res_cond_scale == 1


def test_traversing_takes_every_checkpoint_or_those_of_a_name(tmp_path: Path) -> None:
    model = tmp_path / "mini" / "rtrans" / "model"
    model.mkdir(parents=True)
    (model.parent / "config.json").write_text("{}")

    def targets(*flags: str) -> list[tuple[str | None, str]]:
        found = parse(EvalResOptions, ["--dataset_name", "mini", "--checkpoints_dir", str(tmp_path), *flags])
        return [
            (which, str(folder.relative_to(model.parent)))
            for which, folder in _targets(found, "res", runs_of(found.run))
        ]

    with pytest.raises(UserError, match="it has none at all"):
        targets("--traverse_res")
    for name in ("latest.tar", "net_best_fid.tar"):
        (model / name).write_bytes(b"")
    best = ("net_best_fid.tar", "eval/net_best_fid")
    assert targets("--traverse_res") == [("latest.tar", "eval/latest"), best]
    assert targets("--traverse_res", "--which_epoch", "fid") == [best]
    for number in (10, 9):
        (model / f"net_epoch_{number}.tar").write_bytes(b"")
    kept = [(f"net_epoch_{number}.tar", f"eval/net_epoch_{number}") for number in (9, 10)]
    assert targets("--traverse_res", "--which_epoch", "net_epoch") == kept
    assert targets("--which_epoch", "fid") == [("fid", "eval")] and targets() == [(None, "eval")]


@pytest.mark.parametrize(
    "flags",
    [
        "--retrieval",
        "--retrieval on on",
        "--retrieval maybe",
        "--sweep_cond_scale -1",
        "--sweep_cond_scale 1 2 1.0",
        "--sweep_time_steps 5 5",
        "--gt_base --sweep_time_steps 5",
        "--gt_base --sweep_retrieval_scale 2",
        "--seed 99999999999999999999",
    ],
)
def test_bad_flags(flags: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(EvalResOptions, flags.split())
    assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1
