"""The command `remomask`: each script of the checkout by a word, with the script's own options."""

from __future__ import annotations

import difflib
import importlib
import sys

# Word or words -> module with a `main`, and what it does.
COMMANDS = {
    "demo": ("demo", "a prompt becomes a motion: video, BVH, glTF, page, arrays"),
    "edit": ("edit", "changes a motion, tells a story, keeps to poses and ways"),
    "app": ("app", "the same in the browser"),
    "export": ("visualization.export", "motion files become animation files, pages and videos"),
    "render": ("render", "ray-traced videos and pictures"),
    "fit": ("fit", "joints become SMPL"),
    "search": ("Part_TMR.scripts.search", "looks in the library of motions"),
    "database": ("build_rag_database", "makes the library, or adds clips of your own"),
    "prepare": ("prepare_dataset", "your motions and captions become a dataset"),
    "check": ("data.check.__main__", "is a dataset whole and plausible?"),
    "mini": ("data.mini.__main__", "writes the procedural dataset"),
    "train vq": ("train_vq", "trains the motion tokeniser"),
    "train tmr": ("Part_TMR.scripts.train", "trains the retriever"),
    "train mtrans": ("train_mask_transformer", "trains the masked transformer"),
    "train rtrans": ("train_res_transformer", "trains the residual transformer"),
    "train length": ("train_length_estimator", "trains the length estimator"),
    "train evaluator": ("train_evaluator", "trains the evaluator"),
    "eval vq": ("eval_vq", "how well motions survive the tokeniser"),
    "eval tmr": ("Part_TMR.scripts.test", "how well captions and motions find each other"),
    "eval mask": ("eval_mask", "how good motions of base tokens are"),
    "eval res": ("eval_res", "how good motions are: the numbers to compare"),
    "eval edit": ("eval_edit", "how good edits and stories are"),
    "inspect": ("pipeline.inspect", "what a trained run or a library is, and what it fits"),
    "start": ("pipeline.start", "whether trained runs can be what another training starts from"),
    "export_run": ("export_run", "a trained run as a small folder"),
}
PROGRAM = "remomask"


def usage() -> str:
    """What `remomask --help` prints."""
    rows = "\n".join(f"  {command:<16} {what}" for command, (_, what) in COMMANDS.items())
    return f"usage: {PROGRAM} COMMAND [OPTIONS]\n\n{rows}\n\n{PROGRAM} COMMAND --help lists the options of a command."


def chosen(words: list[str]) -> str | None:
    """The command that a command line begins with."""
    return next((command for command in COMMANDS if words[: command.count(" ") + 1] == command.split()), None)


def refusal(words: list[str]) -> str:
    """Why a command line has no command, in one line."""
    if kinds := [command.split()[1] for command in COMMANDS if command.split()[0] == words[0] and " " in command]:
        told = f", not {words[1]!r}" if len(words) > 1 else ""
        return f"{PROGRAM} {words[0]} needs one of {', '.join(kinds)}{told} (see {PROGRAM} --help)"
    first = {command.split()[0]: None for command in COMMANDS}
    near = difflib.get_close_matches(words[0], first, 1)
    meant = f": is {near[0]} meant?" if near else f", there are {', '.join(first)}"
    return f"{PROGRAM} has no command {words[0]!r:.80}{meant} (see {PROGRAM} --help)"


def main() -> None:
    """Runs the command that the command line names; exits as its script does, with 2 where there is none such."""
    words = sys.argv[1:]
    if words[:1] in ([], ["-h"], ["--help"], ["help"]):
        print(usage())
        return
    if words[0] == "--version":
        print(PROGRAM, importlib.import_module(PROGRAM).__version__)
        return
    command = chosen(words)
    if command is None:
        print(f"error: {refusal(words)}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"{PROGRAM} {command}", *words[command.count(" ") + 1 :]]
    from remomask.utils.errors import run_script

    run_script(lambda: importlib.import_module(f"{PROGRAM}.{COMMANDS[command][0]}").main())
