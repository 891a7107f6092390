"""Parses command lines by the scripts' own parsers and runs none of them: the process that tests/test_docs.py starts.

It works in a folder of the caller's, where data sets and files that the commands name may lie.
Standard input: a JSON list of the words behind `python`, `["demo.py", "--seed", "7"]` or `["-m", "data.check", ...]`.
Standard output: a JSON list with what the script said against each, "" where nothing; of `--help` what it printed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from options import command_line  # noqa: E402

PARSES = re.compile(r"\bparse\w*\(|ArgumentParser|import (train|main)$", re.MULTILINE)
inside = False  # our own parser, which looks at more than argparse does


class Parsed(BaseException):
    """The command line is understood; nothing of what it asks for was begun."""


def stopping(parse: Callable[..., Any], own: bool) -> Callable[..., Any]:
    """A parser that ends the script when it has done its work."""

    def stop(*args: Any, **settings: Any) -> Any:
        global inside
        if inside:
            return parse(*args, **settings)
        inside = own
        settings.pop("underlying", None)  # looks into runs and libraries that the reader has not made yet
        try:
            raise Parsed(parse(*args, **settings))
        finally:
            inside = False

    return stop


def said_against(words: Sequence[str]) -> str:
    """What the script says of its options."""
    is_module = words[0] == "-m"
    name, given = words[is_module], list(words[is_module + 1 :])
    place = Path(name.replace(".", "/") + ".py" if is_module else name)
    if is_module and (ROOT / place).with_suffix("").is_dir():
        place = place.with_suffix("") / "__main__.py"
    if not (ROOT / place).is_file():
        return f"{place}: there is no such file"
    if not PARSES.search((ROOT / place).read_text(encoding="utf-8")):
        return "it takes no options" if any(word.startswith("--") for word in given) else ""
    sys.argv = [str(place), *given]
    heard = io.StringIO()
    try:
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            if is_module:
                runpy.run_module(name, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(str(ROOT / name), run_name="__main__")
    except Parsed as parsed:
        told = parsed.args[0]
        return said_against([told.training_script, *told.training_script_args]) if name == "utils.launch" else ""
    except SystemExit as end:
        return heard.getvalue().strip() or f"it ends with {end.code}"
    return "it never looks at its options"


if __name__ == "__main__":
    command_line.parse = stopping(command_line.parse, own=True)
    argparse.ArgumentParser.parse_args = stopping(argparse.ArgumentParser.parse_args, own=False)
    print(json.dumps([said_against(words) for words in json.load(sys.stdin)]))
