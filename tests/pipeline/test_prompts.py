"""Prompts from the command line and from files."""

from pathlib import Path

import pytest

from pipeline.prompts import read_requests
from utils.errors import UserError


def test_prompt_file_with_lengths_comments_and_repeats(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text(
        "# two motions\na person waves=80   # short\n\nshe walks: 2 + 2 = four steps=100\na jump\n", encoding="utf-8"
    )
    requests = read_requests(None, str(path), 60, 2, 5)
    assert requests == [
        ("a person waves", 80, 5),
        ("a person waves", 80, 6),
        ("she walks: 2 + 2 = four steps", 100, 5),
        ("she walks: 2 + 2 = four steps", 100, 6),
        ("a jump", 60, 5),
        ("a jump", 60, 6),
    ]


@pytest.mark.parametrize(
    "line, text, length",
    [
        ("a person jumps up and then lands.#52", "a person jumps up and then lands.", 52),
        ("a man walks forward#NA", "a man walks forward", None),
        ("a man walks forward # na", "a man walks forward", None),
        ("a person waves with the right hand. # 96", "a person waves with the right hand.", 96),
        ("he does kata #3 of five", "he does kata #3 of five", 60),
        ("he does kata #3 twice#100", "he does kata #3 twice", 100),
        ("C# minor sounds, she dances=80", "C# minor sounds, she dances", 80),
        ("a + b = c#44", "a + b = c", 44),
        ("a dance #swing", "a dance #swing", 60),
        ("a jump=80 # not more than 100", "a jump", 80),
        ("a walk\r", "a walk", 60),
    ],
)
def test_lengths_as_in_momasks_demo(tmp_path: Path, line: str, text: str, length: int | None) -> None:
    """`#frames` and `#NA` are heeded at the end of a line; elsewhere a `#` is text, unless it begins the line."""
    path = tmp_path / "prompts.txt"
    path.write_bytes(f"# a comment#52\n{line}\n".encode("utf-8-sig"))
    assert read_requests(None, str(path), 60, 1, 0) == [(text, length, 0)]


def test_no_length_means_estimated() -> None:
    assert read_requests("a  person\nwaves", None, 0, 1, 0) == [("a person waves", None, 0)]


@pytest.mark.parametrize(
    "content, words",
    [
        ("", "no prompt"),
        ("# only a comment", "no prompt"),
        ("a person waves=soon", "line 1: 'soon' is no length"),
        ("walk\na person waves=0", "line 2"),
        ("=80", "no prompt before"),
        ("a walk#0", "line 1: '0' is no length in frames .prompt#frames"),
        ("a walk#-5", "line 1: '-5' is no length"),
        ("a walk#5.5", "line 1: '5.5' is no length"),
        ("x" * 3000, "3000 characters"),
    ],
)
def test_bad_prompt_files_are_named(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        read_requests(None, str(path), 0, 1, 0)


def test_unreadable_prompt_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--text_path .*absent.txt does not exist"):
        read_requests(None, str(tmp_path / "absent.txt"), 0, 1, 0)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00walk")
    with pytest.raises(UserError, match="not UTF-8"):
        read_requests(None, str(tmp_path / "binary.txt"), 0, 1, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a person walks=" + "9" * 5000, "line 1: '9999"),
        ("he walks\na person walks#" + "9" * 5000, "line 2: '9999"),
        ("#1" * 20_000 + " =\n", "has no prompt"),
        ("walk " + "#1" * 20_000, "line 1: the line has 40005 characters"),
        (b"a person \xff", "is not UTF-8"),
        (b"a person \xed\xa0\x80", "is not UTF-8"),
    ],
)
def test_lines_that_are_refused_in_one_line(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        read_requests(None, str(path), 0, 1, 0)


def test_what_no_file_and_no_tokenizer_can_hold() -> None:
    for text in ("a person \udcff", "\ud800"):
        with pytest.raises(UserError, match="a prompt is not UTF-8 text"):
            read_requests(text, None, 0, 1, 0)
    assert read_requests("a\x1b[31m  person\x00\u200bwalks", None, 0, 1, 0)[0][0] == "a [31m person \u200bwalks"
    with pytest.raises(UserError, match="at most 1,000,000 motions"):
        read_requests("walk", None, 0, 10**9, 0)
