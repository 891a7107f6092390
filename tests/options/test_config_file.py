"""`--config FILE`: values of flags from JSON and YAML, a run's own config among them; mistakes are one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from options import demo, evaluation, inspect, library, stages
from options.command_line import parse
from options.presets import PRESETS
from tests.options.test_schema import PRESETS as SMALL
from tests.options.test_schema import Options
from utils.schema import to_dict

ROOT = Path(__file__).parents[2]


def written(folder: Path, name: str, content: object) -> str:
    """A file of the folder: a text as it is, everything else as JSON."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_the_command_line_wins_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    file = written(tmp_path, "a.json", {"name": "run", "width": 5, "train": {"limit": None, "milestones": [7]}})
    options = parse(Options, ["--config", file, "--preset", "small", "--milestones", "1", "9"], SMALL)
    assert (options.name, options.model.width, options.train.limit) == ("run", 5, None)
    assert options.train.milestones == (1, 9)
    assert parse(Options, [f"--config={file}", "--width", "6", "--name", "b"]).model.width == 6


def test_the_file_may_choose_the_preset(tmp_path: Path) -> None:
    file = written(tmp_path, "a.yml", "preset: small\nname: run\nmilestones: [3]\n")
    options = parse(Options, ["--config", file], SMALL)
    assert options.model.width == 4 and options.train.milestones == (3,)
    assert parse(Options, ["--config", file, "--preset", "paper"], SMALL).model.width == 16


def test_yaml_means_what_the_command_line_means(tmp_path: Path) -> None:
    text = "name: 2024\nmodel:\n  attention: on\n  dropout: 1e-1  # a text to YAML\ncheckpoint: no\nlimit: null\n"
    options = parse(Options, ["--config", written(tmp_path, "a.yaml", f"{text}betas:\n- 0\n- .5\n")])
    assert (options.name, options.model.attention, options.model.dropout) == ("2024", True, 0.1)
    assert (options.train.checkpoint, options.train.limit, options.train.betas) == ("no", None, (0.0, 0.5))
    modes = written(tmp_path, "modes.yaml", "retrieval: [on, off]\nsweep_time_steps: 5\n")
    evaluated = parse(evaluation.EvalMaskOptions, ["--config", modes])
    assert evaluated.retrieval == ("on", "off") and evaluated.sweep_time_steps == (5,)
    assert parse(Options, ["--config", written(tmp_path, "none.yaml", "# nothing yet\n"), "--name", "a"]).name == "a"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", {"widht": 3}, "a.json: widht is unknown: the nearest name is width"),
        ("a.json", {"zzz": 3}, "a.json: zzz is unknown, and no name is like it"),
        ("a.json", {"train": {"width": 3}}, "a.json: train.width is unknown: it is called model.width"),
        ("a.json", {"modle": {"width": 3}}, "a.json: modle is unknown: the nearest name is model"),
        ("a.json", {"config": "b.json"}, "a.json: config is unknown"),
        ("a.json", {"width": "3"}, "a.json: width must be int, not '3'"),
        ("a.json", {"width": 0}, "a.json: width must be at least 1, not 0"),
        ("a.json", {"width": None}, "a.json: width must be int, not None"),
        ("a.json", {"width": [3, 4]}, "a.json: width must be int, not [3, 4]"),
        ("a.json", {"width": {"a": 1}}, "a.json: width must be int, not {'a': 1}"),
        ("a.json", {"model": 3}, "a.json: model must be a set of named values, not 3"),
        ("a.json", {"model": {"norm": "group"}}, "a.json: model.norm must be one of layer, batch, not 'group'"),
        ("a.json", {"width": 3, "model": {"width": 3}}, "a.json: width has several values, as width and"),
        ("a.json", '{"width": 3, "width": 4}', "a.json is not valid JSON: 'width' stands twice"),
        ("a.json", "width: 3", "a.json is not valid JSON"),
        ("a.json", [1], "a.json must be a set of named values, not [1]"),
        ("a.json", {"preset": ["small"]}, "a.json: preset must be one of paper, small, not ['small']"),
        ("a.json", {"name": "a", "milestones": [5, 1]}, "--milestones must rise (with --config "),
        ("a.yaml", "widht: 3", "a.yaml: widht is unknown: the nearest name is width"),
        ("a.yaml", "width: x", "a.yaml: width must be int, not 'x'"),
        ("a.yaml", "width: 1.0", "a.yaml: width must be int, not '1.0'"),
        ("a.yaml", "width:", "a.yaml: width must be int, not ''"),
        ("a.yaml", "width: [3, 4]", "a.yaml: width must be int, not ['3', '4']"),
        ("a.yaml", "milestones: {a: 1}", "a.yaml: milestones must be a list of int values, not {'a': '1'}"),
        ("a.yaml", "attention: maybe", "a.yaml: attention must be true or false, not 'maybe'"),
        ("a.yaml", "dropout: nan", "a.yaml: dropout must be a finite number"),
        ("a.yaml", "model:\n  width: 3\n  width: 4\n", "a.yaml is not valid YAML: 'width' stands twice"),
        ("a.yaml", "a: &x [1]\nb: *x\n", "a.yaml is not valid YAML: *x refers to another place"),
        ("a.yaml", "<<: {width: 3}", "a.yaml: << is unknown"),
        ("a.yaml", "? [a]\n: b\n", "a.yaml is not valid YAML"),
        ("a.yaml", "- 1", "a.yaml must be a set of named values, not ['1']"),
        ("a.yaml", "name: a\n---\nname: b\n", "a.yaml is not valid YAML"),
        ("a.yaml", "name: [" * 2000, "a.yaml is not valid YAML"),
        ("a.yaml", "name: !!python/object/apply:os.system [exit]", "a.yaml: name must be str, not ['exit']"),
        ("a.toml", "name = 1", "a.toml must be a .json, .yaml or .yml file"),
        ("b.json", None, "b.json does not exist"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(
    name: str, content: object, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / name) if content is None else written(tmp_path, name, content)
    with pytest.raises(SystemExit) as end:
        parse(Options, ["--config", file], SMALL)
    error = capsys.readouterr().err
    assert end.value.code == 2 and words in error and file in error and error.count("\n") == 1, error


@pytest.mark.parametrize("stage", ["vq", "mtrans", "length", "tmr"])
def test_a_runs_own_config_is_such_a_file(stage: str, tmp_path: Path) -> None:
    schema = {each.stage: each for each in vars(stages).values() if hasattr(each, "stage")}[stage]
    options = parse(schema, ["--preset", "mini", "--seed", "7", "--max_epoch", "3"], PRESETS[stage])
    config = stages.run_config(options) | {"tokens": {"nb_code": 3}, "library": None}
    file = written(tmp_path, "config.json", config)
    assert parse(schema, ["--config", file], PRESETS[stage]) == options
    again = parse(schema, ["--config", file, "--name", "again"], PRESETS[stage])
    assert to_dict(again) == to_dict(options) | {"run": to_dict(options.run) | {"name": "again"}}


def test_a_runs_config_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other commands take what is theirs; a training of another stage nothing at all."""
    config = stages.run_config(parse(stages.VQOptions, ["--preset", "mini", "--seed", "7"], PRESETS["vq"]))
    file = written(tmp_path, "config.json", config)
    options = parse(evaluation.EvalVQOptions, ["--config", file])
    assert (options.run.dataset_name, options.run.name) == ("mini", "vq")
    assert options.protocol == evaluation.ProtocolOptions(), "the training's seed and batch are not the evaluation's"
    with pytest.raises(SystemExit):
        parse(stages.MaskedOptions, ["--config", file])
    assert "config.json is the config of stage 'vq', not of 'mtrans'" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["vq", "mtrans", "rtrans", "length", "tmr", "evaluator"])
def test_the_configs_of_shipped_runs(stage: str) -> None:
    """Those of former versions too: what they did not tell is what it was then."""
    schema = {each.stage: each for each in vars(stages).values() if hasattr(each, "stage")}[stage]
    folder = ROOT / "pretrained" / "open" / stage
    options = parse(schema, ["--config", str(folder / "config.json")], PRESETS[stage])
    told = json.loads((folder / "config.json").read_text())
    assert told["train"].items() <= json.loads(json.dumps(to_dict(options)))["train"].items()
    if stage in ("mtrans", "rtrans"):
        now = to_dict(options)["training_retrieval"]
        assert now["retrieval_pool"] == told.get("training_retrieval", {}).get("retrieval_pool", 3)


def test_other_commands_take_files_too(tmp_path: Path) -> None:
    asked = written(tmp_path, "a.yaml", "text_prompt: a person waves\nmodels: {mtrans_name: mine}\nformats: [bvh]\n")
    options = parse(demo.DemoOptions, ["--config", asked])
    assert (options.text_prompt, options.models.mtrans_name, options.formats) == ("a person waves", "mine", ("bvh",))
    assert parse(demo.DemoOptions, ["--config", asked, "--formats", "glb"]).formats == ("glb",)
    place = written(tmp_path, "place.json", {"folder": "logs/mini/vq"})
    assert parse(inspect.InspectOptions, ["--config", place]).folder == "logs/mini/vq"
    added = written(tmp_path, "add.json", {"add": "clips"})
    options = parse(library.BuildOptions, ["--config", added], underlying=library.as_the_demo)
    assert options.run.dataset_name == "open", "as if it were on the command line"


def test_a_training_refuses_a_file_before_anything_is_loaded(tmp_path: Path) -> None:
    file = written(tmp_path, "a.json", {"learning_rate": 1})
    command = [sys.executable, "-X", "importtime", "train_vq.py", "--config", file]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2 and "learning_rate is unknown" in result.stderr
    assert "torch" not in {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
