"""The commands as users type them: what is missing is named, bad input ends with code 2, the smoke pipeline runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PUBLISHED = [
    ("python -m Part_TMR.scripts.train", "dataset/HumanML3D"),
    ("python build_rag_database.py", "logs/humanml3d/tmr"),
    ("bash run_rvq.sh vq 0 humanml3d --batch_size 256 --num_quantizers 6 --max_epoch 50 --quantize_dropout_prob 0.2"
     " --gamma 0.1 --code_dim2d 1024 --nb_code2d 256", "dataset/HumanML3D"),
    ("bash run_mtrans.sh mtrans 1 0 humanml3d --vq_name pretrain_vq --batch_size 256 --max_epoch 2000 --attnj --attnt"
     " --latent_dim 512 --n_heads 8", "dataset/HumanML3D"),
    ("bash run_mtrans.sh mtrans 8 0,1,2,3,4,5,6,7 humanml3d --vq_name pretrain_vq --batch_size 256 --max_epoch 2000"
     " --attnj --attnt --latent_dim 512 --n_heads 8", "dataset/HumanML3D"),
    ("bash run_rtrans.sh rtrans 2 humanml3d --batch_size 64 --vq_name vq --cond_drop_prob 0.01 --share_weight"
     " --max_epoch 2000 --attnj --attnt", "dataset/HumanML3D"),
    ("python train_length_estimator.py --dataset_name kit", "dataset/KIT-ML"),
    ("python -m Part_TMR.scripts.test", "logs/humanml3d/tmr"),
    ("python eval_vq.py --gpu_id 0 --name pretrain_vq --dataset_name humanml3d --ext eval"
     " --which_epoch net_best_fid.tar", "dataset/HumanML3D"),
    ("python eval_mask.py --dataset_name humanml3d --mtrans_name pretrain_mtrans --gpu_id 0 --cond_scale 4"
     " --time_steps 10 --ext eval --which_epoch fid", "dataset/HumanML3D"),
    ("python eval_res.py --gpu_id 0 --dataset_name humanml3d --mtrans_name pretrain_mtrans"
     " --rtrans_name pretrain_rtrans --cond_scale 4 --time_steps 10 --ext eval --which_ckpt net_best_fid.tar"
     " --which_epoch fid --traverse_res", "dataset/HumanML3D"),
    ("python eval_res.py --gpu_id 0 --dataset_name kit --mtrans_name pretrain_mtrans_kit"
     " --rtrans_name pretrain_rtrans_kit --cond_scale 4 --time_steps 10 --ext eval --which_ckpt net_best_fid.tar"
     " --which_epoch fid --traverse_res", "dataset/KIT-ML"),
    ('python demo.py --gpu_id 0 --ext exp1 --text_prompt "A person is walking on a circle." --checkpoints_dir logs'
     " --dataset_name humanml3d --mtrans_name pretrain_mtrans --rtrans_name pretrain_rtrans",
     "logs/humanml3d/pretrain_mtrans"),
    ("python -m fit --dir new_test_npy --save_folder new_temp_npy --cuda cuda:0", "new_test_npy is missing"),
    ("python render.py -- --cfg=./configs/render_mld.yaml --dir=test_npy --mode=video --joint_type=HumanML3D",
     "test_npy is missing"),
]  # fmt: skip


def run(command: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command line in `folder` with the interpreter of the tests."""
    words = shlex.split(command)
    if words[0] == "python":
        words[0] = sys.executable
    return subprocess.run(
        words,
        cwd=folder,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "VIRTUAL_ENV": sys.prefix, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2 and one error line with these words (a line of warning about a missing GPU may stand before it)."""
    assert result.returncode == 2, result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def empty_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code without any dataset, run or database in place."""
    folder = tmp_path_factory.mktemp("checkout")
    left_out = {"dataset", "logs", "database", "checkpoints", "outputs", ".git", ".venv"}
    for entry in ROOT.iterdir():
        if entry.name not in left_out:
            (folder / entry.name).symlink_to(entry)
    for script in ROOT.glob("*.sh"):  # these change into the folder that they really lie in
        (folder / script.name).unlink()
        (folder / script.name).write_bytes(script.read_bytes())
    for script in ROOT.glob("*.py"):
        (folder / script.name).unlink()
        (folder / script.name).write_bytes(script.read_bytes())
    return folder


@pytest.mark.parametrize("command, place", PUBLISHED)
def test_what_is_missing_is_named_with_its_place(command: str, place: str, empty_checkout: Path) -> None:
    assert_refused(run(command, empty_checkout), place)


@pytest.mark.parametrize("ids", ["0,1", "-1,-1"])
def test_several_processes_report_what_is_missing_once(ids: str, empty_checkout: Path, tmp_path: Path) -> None:
    # A machine with two GPUs, as far as launch.sh can see.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$2" = utils.device ] && echo 0,1 || exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    result = run(f"bash run_mtrans.sh mtrans 2 {ids} humanml3d --vq_name vq", empty_checkout, PATH=path)
    assert_refused(result, "dataset/HumanML3D")


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("", ["--text_prompt"]),
        ('--text_prompt "  "', ["empty"]),
        ('--text_prompt "a person waves" --motion_length 7', ["32 to 196 frames"]),
        ('--text_prompt "a person waves" --motion_length 5000', ["out of range"]),
        ('--text_prompt "a person waves" --mtrans_name nothing', ["nothing", "mtrans"]),
        ('--text_prompt "a person waves" --output_dir /proc/nowhere', ["/proc/nowhere"]),
        ('--text_prompt "a person waves" --cond_scale much', ["cond_scale"]),
        ("--text_path /no/such/file.txt", ["/no/such/file.txt"]),
        ('--text_prompt "a person waves" --dataset_name nowhere', ["nowhere"]),
        ('--text_prompt "a person waves" --ext ../../away', ["--ext"]),
    ],
)
def test_the_demo_refuses_bad_input_in_one_line(arguments: str, words: list[str], tmp_path: Path) -> None:
    output = "" if "--output_dir" in arguments else f" --output_dir {tmp_path}"
    result = run(f"python demo.py {arguments}{output}")
    assert_refused(result, *words)
    assert not list(tmp_path.iterdir()), "something is left behind"


def test_the_demo_writes_what_it_promises(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text('a person waves=48\n../../evil: somebody\'s "jump"=40\n', encoding="utf-8")
    formats = "--formats mp4 gif png bvh glb html npy"
    result = run(
        f"python demo.py --text_path {prompts} --repeat_times 2 --ext exp1 --output_dir {tmp_path}/out {formats}"
    )
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "out" / "exp1"
    index = json.loads((folder / "result.json").read_text())
    assert [(sample["prompt"], sample["seed"], sample["motion_length"]) for sample in index["samples"]] == [
        ("a person waves", 0, 48),
        ("a person waves", 1, 48),
        ('../../evil: somebody\'s "jump"', 0, 40),
        ('../../evil: somebody\'s "jump"', 1, 40),
    ]
    for sample in index["samples"]:
        assert sample["retrieved"][0]["caption"]
        files = {kind: folder / name for kind, name in sample["files"].items()}
        assert all(path.resolve().is_relative_to(folder.resolve()) for path in files.values())
        assert np.load(files["joints"]).shape == (sample["motion_length"], 22, 3)
        assert np.load(files["features"]).shape == (sample["motion_length"], 263)
        assert b"ftyp" in files["video"].read_bytes()[:32] and files["bvh"].read_text().startswith("HIERARCHY")
        assert files["glb"].read_bytes()[:4] == b"glTF" and files["gif"].read_bytes()[:4] == b"GIF8"
        assert files["picture"].read_bytes()[1:4] == b"PNG"
        assert sample["retrieved"][0]["caption"] in files["html"].read_text(encoding="utf-8")
        assert len(files) == 8 and {path.name for path in files.values()} == set(os.listdir(files["html"].parent))
    assert index["comparison"] == {"html": "comparison.html"}
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert page.count('"frames":48') == 2 and page.count('"frames":40') == 2
    assert index["settings"]["sampling"]["cond_scale"] == 2.0


@pytest.mark.slow
def test_smoke_pipeline_from_nothing_to_a_motion_and_evaluations(tmp_path: Path) -> None:
    started = time.monotonic()
    result = run(f"bash reproduce_mini.sh --smoke {tmp_path}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert time.monotonic() - started < 240, "the smoke pipeline takes more than four minutes"
    assert list((tmp_path / "outputs").rglob("motion.mp4"))
    weights = sum(path.stat().st_size for path in (tmp_path / "pretrained").rglob("*"))
    assert weights < 25e6
    dataset, runs = tmp_path / "dataset" / "mini", f"--checkpoints_dir {tmp_path}/pretrained"
    once = f"--dataset_name {dataset} {runs} --repeat_times 1"
    for command in (
        f"python eval_vq.py {once} --name open/vq",
        f"python eval_mask.py {once} --time_steps 2",
        f"python eval_res.py {once} --time_steps 2 --retrieval off random --sweep_cond_scale 1 --report",
        f"python eval_res.py {once} --gt_base",
        f"python eval_edit.py {once} --time_steps 2 --clips 2 --kinds in-between waypoints",
        f"python -m Part_TMR.scripts.test --dataset_name {dataset} {runs}",
    ):
        result = run(command)
        assert result.returncode == 0, result.stderr
        assert "protocol" in result.stdout, result.stdout
    # The same command again goes on where the run stopped, and a changed architecture is refused.
    train = f"python train_length_estimator.py --name length --preset open --dataset_name {dataset}"
    train += f" --checkpoints_dir {tmp_path}/logs --max_steps 5 --batch_size 16"
    result = run(f"{train} --latent_dim 96")
    assert result.returncode == 0 and "resumed" in result.stdout, result.stdout + result.stderr
    assert_refused(run(f"{train} --latent_dim 64"), "another config", "latent_dim")


@pytest.mark.slow
def test_models_for_shipping_are_made_of_two_datasets_with_a_smaller_library(tmp_path: Path) -> None:
    result = run(f"bash reproduce_open.sh --smoke {tmp_path}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert list((tmp_path / "outputs").rglob("motion.mp4"))
    shipped = tmp_path / "pretrained" / "cmu+mini"
    manifest = json.loads((shipped / "database" / "manifest.json").read_text())
    assert manifest["motions"] == 40 and manifest["tokens"][2] == 3, "thinned, of the levels that are read"
    whole = json.loads((tmp_path / "database" / "cmu+mini" / "manifest.json").read_text())
    assert whole["tokens"][2] == 5 and "words" not in whole
    entries = json.loads((tmp_path / "database" / "cmu+mini" / "entries.json").read_text())
    said = {
        word for entry in entries for caption in entry["captions"] for word in re.findall(r"[a-z]+", caption.lower())
    }
    assert set(manifest["words"]) <= said and len(manifest["words"]) > 0.8 * len(said), "what training had"
    assert sorted(path.name for path in shipped.iterdir()) == [
        *("database", "evaluator", "length", "mtrans", "rtrans", "tmr", "vq"),
    ]
    result = run("bash reproduce_open.sh only one")
    assert result.returncode == 2 and result.stderr.startswith("error: usage")
