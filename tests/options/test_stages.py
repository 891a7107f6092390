"""Every script's options: the promised command lines parse, presets fit, JSON round trips, --help is instant."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from options import app, demo, evaluation, export, inspect, library, prepare, stages
from options.command_line import flags_of, parse
from options.presets import PRESETS
from utils.formats import get_format
from utils.schema import from_dict, to_dict

ROOT = Path(__file__).parents[2]
SCHEMAS = {
    "train_vq.py": stages.VQOptions,
    "train_mask_transformer.py": stages.MaskedOptions,
    "train_res_transformer.py": stages.ResidualOptions,
    "train_length_estimator.py": stages.LengthOptions,
    "train_evaluator.py": stages.EvaluatorOptions,
    "Part_TMR.scripts.train": stages.RetrieverOptions,
    "Part_TMR.scripts.test": evaluation.RetrieverEvalOptions,
    "build_rag_database.py": library.BuildOptions,
    "Part_TMR.scripts.search": library.SearchOptions,
    "eval_vq.py": evaluation.EvalVQOptions,
    "eval_mask.py": evaluation.EvalMaskOptions,
    "eval_res.py": evaluation.EvalResOptions,
    "eval_edit.py": evaluation.EvalEditOptions,
    "demo.py": demo.DemoOptions,
    "export_run.py": inspect.ExportOptions,
    "pipeline.inspect": inspect.InspectOptions,
    "pipeline.start": inspect.StartOptions,
    "prepare_dataset.py": prepare.PrepareOptions,
    "visualization.export": export.MotionExportOptions,
    "app.py": app.AppOptions,
}
STAGES = {
    "vq": stages.VQOptions,
    "mtrans": stages.MaskedOptions,
    "rtrans": stages.ResidualOptions,
    "length": stages.LengthOptions,
    "tmr": stages.RetrieverOptions,
    "evaluator": stages.EvaluatorOptions,
}
PROMISED = [
    "train_vq.py --name vq --gpu_id 0 --dataset_name humanml3d --batch_size 256 --num_quantizers 6 --max_epoch 50"
    " --quantize_dropout_prob 0.2 --gamma 0.1 --code_dim2d 1024 --nb_code2d 256",
    "train_mask_transformer.py --name mtrans --gpu_id 0,1,2,3,4,5,6,7 --dataset_name humanml3d --vq_name pretrain_vq"
    " --batch_size 256 --max_epoch 2000 --attnj --attnt --latent_dim 512 --n_heads 8",
    "train_res_transformer.py --name rtrans --gpu_id 0,1 --dataset_name humanml3d --batch_size 64 --vq_name vq"
    " --cond_drop_prob 0.01 --share_weight --max_epoch 2000 --attnj --attnt",
    "train_length_estimator.py --dataset_name t2m --gpu_id -1",
    "train_evaluator.py --name evaluator --dataset_name mini --gpu_id -1",
    "Part_TMR.scripts.train",
    "Part_TMR.scripts.test",
    "build_rag_database.py",
    "eval_vq.py --gpu_id 0 --name pretrain_vq --dataset_name humanml3d --ext eval --which_epoch net_best_fid.tar",
    "eval_mask.py --dataset_name humanml3d --mtrans_name pretrain_mtrans --gpu_id 0 --cond_scale 4 --time_steps 10"
    " --ext eval --which_epoch fid",
    "eval_res.py --gpu_id 0 --dataset_name humanml3d --mtrans_name pretrain_mtrans --rtrans_name pretrain_rtrans"
    " --cond_scale 4 --time_steps 10 --ext eval --which_ckpt net_best_fid.tar --which_epoch fid --traverse_res",
    "eval_res.py --gpu_id 0 --dataset_name kit --mtrans_name pretrain_mtrans_kit --rtrans_name pretrain_rtrans_kit"
    " --cond_scale 4 --time_steps 10 --ext eval --which_ckpt net_best_fid.tar --which_epoch fid --traverse_res",
    'demo.py --gpu_id 0 --ext exp1 --text_prompt "A person is walking on a circle." --checkpoints_dir logs'
    " --dataset_name humanml3d --mtrans_name pretrain_mtrans --rtrans_name pretrain_rtrans",
    "demo.py --text_path prompts.txt --repeat_times 3 --motion_length 120 --gpu_id -1",
    "export_run.py --run logs/mini/vq --out pretrained/mini/vq",
    "visualization.export --dir outputs/demo --out outputs/files --bvh_units m --units m --fps 30 --frame_rate 60"
    " --foot_lock",
    "app.py --host 0.0.0.0 --port 8080 --gpu_id 0 --checkpoints_dir logs --dataset_name humanml3d --queue_size 4",
]


@pytest.mark.parametrize("line", PROMISED)
def test_promised_commands_parse(line: str) -> None:
    script, *arguments = shlex.split(line)
    options = parse(SCHEMAS[script], arguments)
    flags = flags_of(SCHEMAS[script])
    values = {name: value for name, value in zip(arguments, arguments[1:], strict=False) if name.startswith("--")}
    for name, text in values.items():
        value = options
        for key in flags[name[2:]].path:
            value = getattr(value, key)
        if not text.startswith("--") and text != "t2m" and value is not True:
            assert str(value) == text or float(text) == value


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("preset", ["paper", "tuned", "small", "mini"])
def test_presets_fit_and_configs_round_trip(stage: str, preset: str) -> None:
    options = parse(STAGES[stage], ["--preset", preset], PRESETS[stage])
    assert options.run.dataset_name == ("mini" if preset == "mini" else "humanml3d")
    assert from_dict(STAGES[stage], json.loads(json.dumps(to_dict(options)))) == options
    config = stages.run_config(options)
    assert config["stage"] == stage and isinstance(config["command"], str) and config["model"] == to_dict(options.model)


TRANSFORMER = (
    "latent_dim 384, n_heads 6, n_layers 8, ff_size 1024, dropout 0.2, block stacked, retrieved global, n_retrieved 1,"
    " retrieval_pool 1, text_states False, cond_drop_prob 0.1, text_drop_prob 0.0, retrieval_drop_prob 0.0,"
    " batch_size 64, max_epoch 500, lr 0.0002, betas (0.9, 0.99), weight_decay 1e-05, warm_up_iter 2000,"
    " schedule step, milestones (1000000,), gamma 0.1, grad_clip 0.0"
)
PUBLISHED = {
    "vq": "width 512, depth 3, dilation_growth_rate 3, merge_parts late, num_quantizers 6, nb_code2d 256,"
    " code_dim2d 1024, mu 0.99, quantize_dropout_prob 0.2, sample_codebook_temp 0.5, feat_bias 5.0, window_size 64,"
    " window_stride 1, position_weight 0.5, drift_weight 0.0, commit_weight 0.02, batch_size 256, max_epoch 50,"
    " lr 0.0002, betas (0.9, 0.99), weight_decay 0.0, warm_up_iter 2000, schedule step, milestones (150000, 250000),"
    " gamma 0.1, grad_clip 0.0",
    "mtrans": f"{TRANSFORMER}, random_token_prob 0.1, mask_token_prob 0.88, part_mask_prob 0.0",
    "rtrans": f"{TRANSFORMER}, share_weight False",
    "tmr": "part_dim 512, motion_layers 4, motion_heads 4, motion_ff_size 1024, embed_dim 512, text_encoder distilbert,"
    " text_layers 0, queue_size 65536, momentum 0.99, temperature 0.07, learn_temperature False, lambda_part 0.0,"
    " batch_size 128, max_epoch 200, lr 1e-05, motion_lr_factor 10.0, text_lr_factor 1.0,"
    " head_lr_factor 10.0, weight_decay 0.0, warm_up_iter 0, schedule cosine, gamma 0.5, grad_clip 0.0",
}


@pytest.mark.parametrize("stage", PUBLISHED)
def test_a_plain_command_is_the_published_configuration(stage: str) -> None:
    values = flat(to_dict(parse(STAGES[stage], [], PRESETS[stage])))
    for item in re.split(r", (?=[a-z])", PUBLISHED[stage]):
        name, _, value = item.partition(" ")
        shown = tuple(values[name]) if isinstance(values[name], list) else values[name]
        assert str(shown) == value, name
    tuned = parse(STAGES[stage], ["--preset", "tuned"], PRESETS[stage])
    changed = {name: value for name, value in flat(to_dict(tuned)).items() if value != values[name]}
    assert changed == PRESETS[stage]["tuned"], "a tuned value that is the published one"


def test_length_classes_are_enough_for_the_datasets_longest_motion(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"fps": 20, "max_frames": 400}')
    lengths = {name: parse(stages.LengthOptions, ["--dataset_name", name]) for name in ("humanml3d", str(tmp_path))}
    assert [options.model.max_steps_length for options in lengths.values()] == [50, 101]


@pytest.mark.parametrize("schema", [stages.VQOptions, stages.RetrieverOptions])
def test_format_and_alias_follow_the_dataset(schema: type) -> None:
    kit = stages.run_config(parse(schema, ["--dataset_name", "kit"]))
    assert kit["format"] == get_format("kit").to_json()
    options = parse(schema, ["--dataset_name", "t2m"])
    assert options.run.dataset_name == "humanml3d"
    assert stages.run_config(options)["format"] == get_format("humanml3d").to_json()


@pytest.mark.parametrize(
    ("schema", "line", "message"),
    [
        (stages.VQOptions, "--dataset_name amass", "unknown dataset 'amass'"),
        (stages.VQOptions, "--gpu_id cuda", "--gpu_id must look like auto, -1, 0 or 0,1,2, not 'cuda'"),
        (stages.VQOptions, "--name ../vq", "--name must be a folder name"),
        (stages.VQOptions, "--window_size 30", "--window_size must be a multiple of 4, not 30"),
        (stages.VQOptions, "--milestones 3 2", "--milestones must rise, not 3 2"),
        (stages.MaskedOptions, "--vq_name a/b/c", "--vq_name must be a folder name"),
        (evaluation.EvalResOptions, "--rtrans_name /tmp", "--rtrans_name must be a folder name"),
        (demo.DemoOptions, "", "give either --text_prompt or --text_path"),
        (demo.DemoOptions, "--text_prompt a --text_path b", "give either --text_prompt or --text_path"),
        (demo.DemoOptions, "--text_prompt ''", "--text_prompt is empty"),
        (demo.DemoOptions, "--text_prompt a --ext ../..", "--ext must be a folder name"),
        (demo.DemoOptions, "--text_prompt a --formats", "--formats is empty"),
        (
            demo.DemoOptions,
            "--text_prompt a --formats avi",
            "one of mp4, gif, png, bvh, glb, fbx, html, npy, not 'avi'",
        ),
        (export.MotionExportOptions, "--dir a --out b --formats npy", "not 'npy'"),
        (export.MotionExportOptions, "--dir a --out b --formats", "there is nothing to write"),
        (export.MotionExportOptions, "--dir a --out b --frame_rate 0.5", "--frame_rate must be 0 or at least 1"),
        (export.MotionExportOptions, "--dir a --out b --width 320", "both --width and --height"),
        (export.MotionExportOptions, "--dir a", "--out is required"),
        (stages.VQOptions, "--down_t 3", "--down_t must be at most 2, not 3"),
        (app.AppOptions, "--port 70000", "--port must be at most 65535, not 70000"),
        (app.AppOptions, "--queue_size -1", "--queue_size must be at least 0, not -1"),
        (app.AppOptions, "--host ''", "--host is empty"),
        (app.AppOptions, "--mtrans_name ../mtrans", "--mtrans_name must be a folder name"),
    ],
)
def test_bad_values(schema: type, line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse(schema, shlex.split(line))
    assert exit_info.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("script", SCHEMAS)
def test_help_is_instant_and_needs_no_torch(script: str) -> None:
    if script.endswith(".py"):
        path, arguments = ROOT / script, [script]
    else:
        path, arguments = ROOT / f"{script.replace('.', '/')}.py", ["-m", script]
    if not path.is_file():
        pytest.skip(f"{script} is not there")
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    assert result.returncode == 0 and "--help" in result.stdout
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")}
    assert not imported & {"torch", "numpy", "transformers", "matplotlib"}
    assert seconds < 1.5, f"--help took {seconds:.2f} s"  # under one second on an idle machine


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("preset", ["mini", "small"])
def test_small_presets_mean_what_they_always_meant(stage: str, preset: str) -> None:
    """The shipped models and the README's figures come from these values: presets.json holds them."""
    before = json.loads((ROOT / "tests" / "options" / "presets.json").read_text())[preset][stage]
    values = flat(to_dict(parse(STAGES[stage], ["--preset", preset], PRESETS[stage])))
    assert {name: values[name] for name in before} == before
    added = {"mtrans": {"retrieval_pool": 3}, "rtrans": {"retrieval_pool": 3}, "tmr": {"motion_lr_factor": 1.0}}
    assert {name: values[name] for name in added.get(stage, {})} == added.get(stage, {}), "formerly no option"


def flat(groups: dict) -> dict:
    """Nested options by their flags."""
    parts = [flat(value) if isinstance(value, dict) else {name: value} for name, value in groups.items()]
    return {name: value for part in parts for name, value in part.items()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_fine_tuning_has_the_sizes_of_its_source_and_a_schedule_of_its_own(stage: str) -> None:
    source = ROOT / "pretrained" / "open" / stage
    schema, told = STAGES[stage], json.loads((source / "config.json").read_text())
    given = ["--preset", "finetune", "--init_from", str(source), "--max_steps", "7"]
    options = to_dict(parse(schema, given, PRESETS[stage], underlying=partial(stages.as_in_source, schema)))
    model = {name: value for name, value in told["model"].items() if name != "layout"}
    assert model.items() <= options["model"].items() and options["train"]["max_steps"] == 7
    assert options["train"]["lr"] < told["train"]["lr"] and options["run"]["checkpoints_dir"] == "logs"
    if stage == "vq":
        assert told["loss"].items() <= options["loss"].items() and options["codebook"] == {"keep_codes": True}
    if stage == "tmr":
        assert options["rates"] == told["rates"] | {"motion_lr_factor": 1.0}, "formerly no option"


@pytest.mark.parametrize(
    "flags, words",
    [
        ([], "--preset finetune needs --init_from"),
        (["--init_from", "nowhere"], "--init_from nowhere is neither the folder of a run nor a checkpoint"),
        (["--init_from", str(ROOT / "pretrained/open/tmr")], "is a run of stage 'tmr', not of 'vq'"),
    ],
)
def test_a_fine_tuning_of_nothing(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        underlying = partial(stages.as_in_source, stages.VQOptions)
        parse(stages.VQOptions, ["--preset", "finetune", *flags], PRESETS["vq"], underlying=underlying)
    assert end.value.code == 2 and words in (error := capsys.readouterr().err) and error.count("\n") == 1
