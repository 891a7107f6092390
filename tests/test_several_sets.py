"""Two tiny datasets in one training: every stage, one library, results a set, resume, a motion."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.rag.database import RAGDatabase
from pipeline.text_to_motion import TextToMotion
from storage.files import read_json
from tests.data.test_several import write_set
from tests.test_own_skeleton import refused, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one step of every stage."""
    folder = tmp_path_factory.mktemp("several")
    for seed, name in enumerate("ab"):
        write_set(folder / name, seed)
    places = [*both(folder), "--checkpoints_dir", folder / "logs", "--gpu_id", "-1"]
    tiny = ["--preset", "mini", *places, "--max_steps", "1", "--batch_size", "4", "--num_workers", "0"]
    layers = ["--database", folder / "database", "--vq_name", "vq", "--latent_dim", "64", "--n_layers", "1"]
    library = [*places, "--name", "tmr", "--vq_name", "vq", "--output", folder / "database"]
    commands = {
        "train_evaluator.py": [*tiny, "--name", "evaluator"],
        "Part_TMR.scripts.train": [*tiny, "--name", "tmr"],
        "train_vq.py": [*tiny, "--name", "vq", "--width", "32"],
        "build_rag_database.py": library,
        "train_mask_transformer.py": [*tiny, *layers, "--name", "mtrans"],
        "train_res_transformer.py": [*tiny, *layers, "--name", "rtrans"],
        "train_length_estimator.py": [*tiny, "--name", "length"],
    }
    for script, flags in commands.items():
        assert run(script, *flags) == 0, script
    return folder


def both(folder: Path, shares: tuple[int, int] = (1, 3)) -> list[object]:
    return ["--dataset_name", f"{folder}/a:{shares[0]},{folder}/b:{shares[1]}"]


def test_runs_and_library_remember_the_sets(folder: Path) -> None:
    for run_folder in (folder / "logs" / "a+b").iterdir():
        assert read_json(run_folder / "config.json")["run"]["dataset_name"] == f"{folder}/a:1,{folder}/b:3"
    database = RAGDatabase.load(folder / "database" / "a+b")
    assert database.facts["dataset"] == "a+b"
    assert [entry.id for entry in database.entries] == [
        f"{name}/{clip_id}" for name in "ab" for clip_id in ("000001", "M000001", "000002")
    ]
    assert database.entries.motions_of("a/000001") == [0, 1] and database.entries.motions_of("b/000001") == [3, 4]
    t2m = TextToMotion.load(folder / "logs", f"{folder}/b,{folder}/a", database=folder / "database")
    (motion,) = t2m.generate(["a person walks"], lengths=[40], time_steps=1)
    assert motion.joints.shape == (40, 22, 3) and motion.retrieved[0][0].startswith(("a/", "b/"))


def test_a_run_goes_on_with_the_same_sets_and_shares_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rest = ["--preset", "mini", "--checkpoints_dir", folder / "logs", "--gpu_id", "-1", "--name", "length"]
    rest += ["--batch_size", "4", "--num_workers", "0"]
    line = refused(capsys, "train_length_estimator.py", *both(folder, (1, 2)), *rest, "--max_steps", "2")
    assert "run.dataset_name was" in line and "another --name" in line
    spelled = ["--dataset_name", f"{folder}/./b:6,{folder}/b/../a:2"]
    assert run("train_length_estimator.py", *spelled, *rest, "--max_steps", "2") == 0
    assert "resumed" in capsys.readouterr().out


def test_results_are_of_all_and_of_each_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, motions in (("a", 3), ("b", 2)):  # a split of several clips
        (folder / name / "val.txt").write_text("\n".join(("000003", "000004", "000002")[:motions]))
    places = [*both(folder), "--checkpoints_dir", folder / "logs", "--gpu_id", "-1"]
    library = ["--database", folder / "database"]
    short = ["--split", "val", "--repeat_times", "1", "--time_steps", "1", "--mm_captions", "0", "--report"]
    assert run("eval_res.py", *places, *library, *short) == 0
    rows = read_json(folder / "logs" / "a+b" / "rtrans" / "eval" / "eval.json")["rows"]
    assert list(rows) == [f"{row}{of}" for of in ("", " [a]", " [b]") for row in ("real", "vq", "res")]
    assert rows["res"].keys() >= {"fid", "r_precision_top1", "foot_skate"} <= rows["res [b]"].keys()
    skates = [rows[f"vq{of}"]["mpjpe"]["mean"] for of in ("", " [a]", " [b]")]
    assert skates[0] == pytest.approx((3 * skates[1] + 2 * skates[2]) / 5)
    assert "| res [a] |" in (folder / "logs" / "a+b" / "rtrans" / "eval" / "eval.md").read_text()
    assert run("Part_TMR.scripts.test", *places, "--name", "tmr", "--split", "val") == 0
    sets = read_json(folder / "logs" / "a+b" / "tmr" / "eval" / "eval_val.json")["sets"]
    assert {name: each["pairs"] for name, each in sets.items()} == {"a": 3, "b": 2}
    found = ["--text", "a person of b walks", *library, "--video", folder / "found.gif", "--k", "2"]
    assert run("Part_TMR.scripts.search", *places, "--name", "tmr", *found) == 0
    assert (folder / "found.gif").is_file()
    line = refused(capsys, "data.check", *both(folder), "--dataset_root", folder)
    assert "--dataset_root" in line and "a:1" in line
    assert run("data.check", *both(folder), "--json", folder / "check.json") == 1  # random numbers are no motions
    assert [each["dataset"] for each in read_json(folder / "check.json")["sets"]] == ["a", "b", "a+b"]
