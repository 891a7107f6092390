"""The one schema behind command line and JSON: round trips, and every mistake gets one clear line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from options.command_line import flags_of, parse
from options.stages import LengthOptions
from utils.errors import UserError
from utils.schema import from_dict, option, to_dict


@dataclass(frozen=True)
class Model:
    width: int = option(8, "channels", minimum=1)
    dropout: float = option(0.1, "a share, 10 % by default", minimum=0, maximum=1)
    norm: Literal["layer", "batch"] = option("layer", "which norm")
    attention: bool = option(False, "attend")


@dataclass(frozen=True)
class Training:
    betas: tuple[float, float] = option((0.9, 0.99), "decay rates")
    milestones: tuple[int, ...] = option((), "steps")
    checkpoint: str | None = option(None, "file")
    limit: int | None = option(3, "limit")

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(self.milestones):
            raise UserError("--milestones must rise")


@dataclass(frozen=True)
class Options:
    name: str = option(help="name of the run")
    model: Model = Model(width=16)
    train: Training = Training()


PRESETS = {"paper": {}, "small": {"width": 4, "milestones": (1, 2)}}
GIVEN = ["--name", "run"]


def test_defaults_of_the_group_instance_win_over_the_fields() -> None:
    assert parse(Options, GIVEN) == Options("run", Model(width=16), Training())


def test_preset_replaces_defaults_and_flags_win() -> None:
    assert parse(Options, [*GIVEN, "--preset", "small"], PRESETS).model.width == 4
    options = parse(Options, [*GIVEN, "--width", "5", "--preset", "small"], PRESETS)
    assert options.model.width == 5 and options.train.milestones == (1, 2)
    assert parse(Options, [*GIVEN, "--preset", "paper"], PRESETS) == parse(Options, GIVEN)


def test_every_kind_of_value() -> None:
    line = "--name r --dropout 1 --norm batch --attention --betas 0.5 0.6 --milestones 1 20 --checkpoint a --limit none"
    options = parse(Options, line.split())
    assert options.model == Model(16, 1.0, "batch", True) and isinstance(options.model.dropout, float)
    assert options.train == Training((0.5, 0.6), (1, 20), "a", None)
    assert parse(Options, [*GIVEN, "--no-attention", "--milestones"]).train.milestones == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "--name is required"),
        ("--name r --depth 3", "unrecognized arguments: --depth 3"),
        ("--name r --wid 3", "unrecognized arguments: --wid 3"),  # no abbreviations
        ("--name r --width x", "--width: must be int, not 'x'"),
        ("--name r --width 1.5", "--width: must be int, not '1.5'"),
        ("--name r --width 0", "--width must be at least 1, not 0"),
        ("--name r --dropout 1.1", "--dropout must be at most 1, not 1.1"),
        ("--name r --dropout nan", "--dropout must be a finite number, not nan"),
        ("--name r --norm group", "--norm: must be one of layer, batch, not 'group'"),
        ("--name r --attention yes", "unrecognized arguments: yes"),
        ("--name r --betas 1", "--betas: expected 2 arguments"),
        ("--name r --milestones 5 1", "--milestones must rise"),
        ("--name", "--name: expected one argument"),
        (f"--name r --width {10**9}{0:09}", "--width must be at most 2147483647, not 1000000000000000000"),
        ("--name r --width " + "9" * 5000, "--width: must be int, not '999"),
        ("--name r --checkpoint \udcff", "--checkpoint is not UTF-8 text of at most 20000 characters: '\\udcff'"),
        ("--name r --milestones" + " 1" * 1001, "--milestones has 1001 values, at most 1000 are read"),
        ("--name r --preset huge", "--preset: invalid choice: 'huge'"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line_and_exit_2(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse(Options, line.split(), PRESETS)
    errors = capsys.readouterr().err
    assert exit_info.value.code == 2
    assert errors.startswith("error: ") and message in errors and errors.count("\n") == 1


def test_help_lists_groups_defaults_and_percent_signs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse(Options, ["--help"], PRESETS, description="What it does.")
    text = " ".join(capsys.readouterr().out.split())
    assert exit_info.value.code == 0
    for part in ("What it does.", "--preset {paper,small}", "channels (default: 16)", "10 % by default", "(required)"):
        assert part in text


values = st.builds(
    Options,
    st.text(),
    st.builds(Model, st.integers(1, 9), st.floats(0, 1), st.sampled_from(["layer", "batch"]), st.booleans()),
    st.builds(
        Training,
        st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
        st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=3).map(sorted).map(tuple),
        st.none() | st.text(),
        st.none() | st.integers(-(2**31) + 1, 2**31 - 1),
    ),
)


@given(values)
@settings(max_examples=50, deadline=None)
def test_json_round_trip(options: Options) -> None:
    assert from_dict(Options, json.loads(json.dumps(to_dict(options)))) == options


def change(path: str, value: object) -> dict:
    content = to_dict(Options("run"))
    *owners, key = path.split(".")
    place = content
    for owner in owners:
        place = place[owner]
    if value is KeyError:
        del place[key]
    else:
        place[key] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.depth", 1, "config.model has unknown keys: depth"),
        ("extra", 1, "config has unknown keys: extra"),
        ("model.width", KeyError, "config.model lacks the keys: width"),
        ("train", KeyError, "config lacks the keys: train"),
        ("model.width", "8", "config.model.width must be int, not '8'"),
        ("model.width", 8.0, "config.model.width must be int, not 8.0"),
        ("model.width", True, "config.model.width must be int, not True"),
        ("model.width", None, "config.model.width must be int, not None"),
        ("model.width", 0, "config.model.width must be at least 1"),
        ("model.dropout", True, "config.model.dropout must be float, not True"),
        ("model.dropout", float("inf"), "config.model.dropout must be a finite number"),
        ("model.attention", 1, "config.model.attention must be bool, not 1"),
        ("model.norm", "group", "config.model.norm must be one of layer, batch, not 'group'"),
        ("train.betas", [1.0], "config.train.betas must be a list of 2 float values, not [1.0]"),
        ("train.betas", "ab", "config.train.betas must be a list of 2 float values, not 'ab'"),
        ("train.milestones", [1.5], "config.train.milestones must be int, not 1.5"),
        ("train.milestones", [2, 1], "config.train: --milestones must rise"),
        ("train.checkpoint", 3, "config.train.checkpoint must be str or none, not 3"),
        ("train.milestones", [2**40], "config.train.milestones must be at most 2147483647"),
        ("train.betas", [1e300, 1], "config.train.betas must be at most 1000000.0"),
        ("train.betas", [10**400, 1], "config.train.betas must be at most 1000000.0"),
        ("name", "\ud800", "config.name is not UTF-8 text"),
        ("model", [1], "config.model must be a set of named values"),
    ],
)
def test_mistakes_in_json_name_the_key(path: str, value: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        from_dict(Options, change(path, value))
    assert message in str(error.value)


def test_whole_numbers_in_json_become_floats() -> None:
    options = from_dict(Options, change("model.dropout", 1))
    assert options.model.dropout == 1.0 and isinstance(options.model.dropout, float)


def test_a_flag_in_two_groups_is_refused() -> None:
    @dataclass(frozen=True)
    class Twice:
        first: Model = Model()
        second: Model = Model()

    # Locally defined classes need their hints resolvable.
    Twice.__annotations__ = {"first": Model, "second": Model}
    with pytest.raises(TypeError, match="two groups of Twice have a flag --width"):
        flags_of(Twice)


def test_a_preset_with_an_unknown_flag_is_refused() -> None:
    with pytest.raises(ValueError, match="preset odd of Options sets unknown flags: depth"):
        parse(Options, GIVEN, {"odd": {"depth": 1}})


def test_a_presets_value_gives_way_to_another_flag() -> None:
    """Epochs that are asked for are not raised by the preset's least number of steps."""
    presets = {"few": {"min_steps": 600, "max_epoch": 30}}
    for flags, expected in (([], (600, 30)), (["--max_epoch", "2"], (0, 2))):
        found = parse(LengthOptions, ["--preset", "few", *flags], presets).train
        assert (found.min_steps, found.max_epoch) == expected
    assert (
        parse(LengthOptions, ["--preset", "few", "--max_epoch", "2", "--min_steps", "9"], presets).train.min_steps == 9
    )
