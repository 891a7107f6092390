"""What edit.py refuses before anything is loaded, in one line and with code 2."""

from __future__ import annotations

import pytest

from options.command_line import parse
from options.edit import EditOptions


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([], "give either --text_prompt or --story"),
        (["--text_prompt", "a", "--story", "b"], "give either --text_prompt or --story"),
        (["--story", "s.txt", "--source_motion", "a.bvh"], "--story makes a motion of its own"),
        (["--text_prompt", "a", "--mask_edit_section", "0.1,0.2"], "--mask_edit_section changes a motion"),
        (["--text_prompt", "a", "--extend", "2"], "--extend changes a motion"),
        (["--text_prompt", "a", "--parts", "arms"], "--parts changes a motion"),
        (["--text_prompt", "a", "--strength", "0.5"], "--strength changes a motion"),
        (["--text_prompt", "a", "--source_motion", "a.npy", "--motion_length", "80"], "--motion_length is of a motion"),
        (["--text_prompt", "a", "--source_motion", "a.npy", "--end_pose", "b.npy"], "--start_pose and --end_pose"),
        (["--story", "s.txt", "--motion_length", "80"], "a story is as long as its lines say"),
        (["--text_prompt", "a", "--strength", "1.5"], "--strength"),
        (["--text_prompt", "a", "--strength", "nan"], "--strength"),
        (["--text_prompt", "a", "--source_motion", "a.npy", "--mask_edit_section", "0.3"], "must look like 0.3,0.6"),
        (["--text_prompt", "a", "--source_motion", "a.npy", "--mask_edit_section", "1s,2"], "must look like 0.3,0.6"),
        (["--text_prompt", "a", "--path", "1,2"], "must look like 1.5,2@3"),
        (["--text_prompt", "a", "--formats"], "--formats is empty"),
    ],
)
def test_what_contradicts_itself_is_refused(words: list[str], match: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(EditOptions, words)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and match in said and said.count("\n") == 1


def test_sections_and_ways() -> None:
    words = ["--source_motion", "a.npy", "--text_prompt", "a", "--extend", "-2"]
    options = parse(
        EditOptions, [*words, "--mask_edit_section", "0.25,0.5", "3s,4.5s", "--path", "0,1@0", "-1.5,2@3.5"]
    )
    assert options.sections(8.0) == ((2.0, 4.0), (3.0, 4.5), (-2.0, 0.0))
    assert options.waypoints == ((0.0, 0.0, 1.0), (3.5, -1.5, 2.0))
