"""README and docs/: links, anchors, pictures and files are there, scripts understand their commands; the site."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "pretrained" / "README.md"]
# What the pages call a reader's own: data sets, a skeleton, and N for a number.
OWN_SETS, OWN_FORMAT, NUMBER = ("mine", "cmu", "NAME"), "studio.json", "N"
MADE = {"dataset", "database", "logs", "outputs", "checkpoints", "glove"}  # by commands, or put there by the reader
FOREIGN_MODULES = {"pytest", "ruff", "mkdocs", "venv", "pip", "utils.device"}
FOREIGN_FLAGS = {"--array", "--nodes", "--wrap", "--signal", "--local-dir"}  # SLURM's, hf's
FOREIGN_FLAGS |= {"--require-hashes", "--no-deps", "--only-binary", "--build-arg"}  # pip's, Docker's
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^ {4,}\S.*(?:(?<=\\)\n.*)*", re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ABSENT = ("is required", "are required")  # what an excerpt may lack
VALUELESS = re.compile(r"argument (--\w+): expected (one|at least one|\d+) arguments?")


@dataclass
class Page:
    """What a Markdown file says.

    Attributes:
        prose: its text without blocks of code and without spans.
        code: (text, whether it is a block of its own).
    """

    path: Path
    text: str
    code: list[tuple[str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        fenced = FENCE.findall(self.text)
        rest = FENCE.sub("", self.text)
        lines = [line for block in fenced for line in block.splitlines()[1:-1]] + BLOCK.findall(rest)
        rest = BLOCK.sub("", rest)
        self.code = [(line.replace("\\\n", " ").strip(), True) for line in lines]
        self.code += [(" ".join(span.split()), False) for span in SPAN.findall(rest)]
        self.prose = SPAN.sub("", rest)

    @property
    def anchors(self) -> set[str]:
        """As GitHub makes them of headings."""
        headings = re.findall(r"^#+ +(.*)", FENCE.sub("", self.text), re.MULTILINE)
        plain = [re.sub(r"[^\w\- ]", "", LINK.sub("", heading).lower()).replace(" ", "-") for heading in headings]
        return {
            name + (f"-{plain[:place].count(name)}" if name in plain[:place] else "")
            for place, name in enumerate(plain)
        }


@dataclass(frozen=True)
class Command:
    """The words behind `python`, and where they are from. An excerpt lacks what `...` or the text stands for."""

    words: tuple[str, ...]
    source: str
    excerpt: bool = False


def dead_links(page: Page) -> Iterator[str]:
    for link in LINK.findall(page.prose):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.path.parent / name if name else page.path
        if name and not target.exists():
            yield f"{link}: there is no such file"
        elif anchor and anchor not in Page(target, page.text if not name else target.read_text("utf-8")).anchors:
            yield f"{link}: there is no such heading"


def missing_files(page: Page) -> Iterator[str]:
    """Paths below folders of ours, and scripts and requirements beside the README."""
    for text, _ in page.code:
        for word in re.findall(r"(?<![\w./<-])\.?[\w-][\w.-]*(?:/[\w.-]+)*/?(?![\w*])", text):
            first, *below = word.strip("/").split("/")
            ours = (
                (ROOT / first).is_dir() and first not in MADE if below else re.fullmatch(r"[\w-]+\.(py|sh|lock)", word)
            )
            if ours and not ((ROOT / word).exists() or re.search(r"\.(py|sh)$", word) and list(ROOT.rglob(word))):
                yield f"{word}: there is no such file"


def commands(text: str, block: bool, source: str) -> Iterator[Command | str]:
    """The commands of a text, and what is wrong with it already."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        if text.startswith(("python", "bash")):
            yield f"{text}: {error}"
        return
    excerpt = "..." in words
    words = ["1" if word == NUMBER else word for word in words if word != "..."]
    starts = [-1, *(place for place, word in enumerate(words) if word in ("&&", "|", ";")), len(words)]
    for first, last in zip(starts, starts[1:], strict=False):
        yield from one_command(words[first + 1 : last], source, excerpt, block)


def one_command(words: list[str], source: str, excerpt: bool, block: bool) -> Iterator[Command | str]:
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if not words:
        return
    name, rest = words[0], words[1:]
    if re.fullmatch(r"(.*/)?python[\d.]*", name):
        if rest and not rest[0].startswith("/") and not (rest[0] == "-m" and rest[1:2] and rest[1] in FOREIGN_MODULES):
            yield Command(tuple(rest), source, excerpt)
    elif name == "blender" and "--python" in rest:
        yield Command(tuple(rest[rest.index("--python") + 1 :]), source, excerpt)
    elif name == "remomask" and rest and not rest[0].startswith("-"):
        yield Command(("-m", name, *rest), source, excerpt)
    elif name == "bash" and rest:
        yield Command((name, *rest), source, excerpt)
    elif name in ("torchrun", "srun", "sbatch"):
        wrapped = [word for word in rest if word.startswith("python ")]
        inner = shlex.split(wrapped[0]) if wrapped else rest[rest.index("python") :] if "python" in rest else []
        yield from one_command(inner, source, excerpt, block)
    elif name == "pip" and "-r" in rest and not (ROOT / rest[rest.index("-r") + 1]).is_file():
        yield f"{rest[rest.index('-r') + 1]}: there is no such file"
    elif not block and rest and (ROOT / name).is_file() and name.endswith(".py"):
        yield Command(tuple(words), source, excerpt=True)
    elif (
        not block and rest and re.fullmatch(r"\w+(\.\w+)+", name) and (ROOT / f"{name.replace('.', '/')}.py").is_file()
    ):
        yield Command(("-m", *words), source, excerpt=True)


class Sandbox:
    """A folder of a reader's own files, where shell scripts call no real Python. What they remove there are copies."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        for script in ROOT.glob("*.sh"):  # these change into the folder that they lie in
            (folder / script.name).write_bytes(script.read_bytes())
        (folder / "setup_env.sh").write_text("")
        shutil.copytree(ROOT / "configs", folder / "configs")
        for name in OWN_SETS:
            (folder / "dataset" / name).mkdir(parents=True)
            (folder / "dataset" / name / "dataset.json").write_text('{"fps": 20, "joints": "humanml3d"}')
        (folder / OWN_FORMAT).write_bytes((ROOT / "utils" / "motion_formats" / "humanml3d.json").read_bytes())
        run = folder / "logs" / "mini" / "vq" / "config.json"
        run.parent.mkdir(parents=True)
        run.write_bytes((ROOT / "pretrained" / "open" / "vq" / "config.json").read_bytes())
        stand_in = folder / "bin" / "python"
        stand_in.parent.mkdir()
        record = f"printf '%s\\0' \"$@\" >>{self.calls}; echo >>{self.calls}"
        stand_in.write_text(f'#!/bin/sh\n{record}\n[ "$2" != utils.device ] || echo "$3"\n')
        stand_in.chmod(0o755)

    def behind(self, command: Command) -> Iterator[Command | str]:
        """The Python commands of a shell script. Those of other folders than the README's are not started."""
        script, *rest = command.words[1:]
        if not (ROOT / script).is_file():
            yield f"{script}: there is no such file"
            return
        if "/" in script:
            text = (ROOT / script).read_text("utf-8")
            yield from (f"{script} has no {flag}" for flag in rest if flag.startswith("--") and flag not in text)
            return
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.calls.write_text("")
        result = subprocess.run(
            ["bash", script, *rest], cwd=self.folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
        )
        yield from (line for line in result.stderr.splitlines() if line.startswith("error: "))
        for call in self.calls.read_text().split("\0\n")[:-1]:
            words = tuple(call.split("\0"))
            if words[0] != "-c" and words[1:2] and words[1] not in FOREIGN_MODULES:
                yield Command(words, command.source, command.excerpt)

    def said_against(self, asked: list[tuple[str, ...]]) -> list[str]:
        """See tests/command_parser.py."""
        worker = [sys.executable, ROOT / "tests" / "command_parser.py"]
        variables = os.environ | {"PYTHONWARNINGS": "ignore"}
        result = subprocess.run(
            worker, cwd=self.folder, env=variables, input=json.dumps(asked), capture_output=True, text=True, timeout=600
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


def problems(pages: Iterable[Page], folder: Path) -> list[str]:
    """All that is wrong with the pages, a line each."""
    sandbox, found, asked, flags = Sandbox(folder), [], [], []
    for page in pages:
        for name, content in re.findall(r"^    # (\w+\.yaml)\n((?:    .+\n)+)", page.text, re.MULTILINE):
            (folder / name).write_text(textwrap.dedent(content))
        where = page.path.relative_to(ROOT) if page.path.is_relative_to(ROOT) else page.path.name
        found += [f"{where}: {problem}" for problem in (*dead_links(page), *missing_files(page))]
        for text, block in page.code:
            flags += [(f"{where}: {text}", flag) for flag in re.findall(r"^--\w[\w-]*", text)]
            for command in commands(text, block, f"{where}: {text}"):
                is_shell = isinstance(command, Command) and command.words[0] == "bash"
                for each in sandbox.behind(command) if is_shell else [command]:
                    if isinstance(each, str):
                        found.append(f"{where}: {text}: {each}")
                    else:
                        asked.append(each)
    scripts = {command.words[: 1 + (command.words[0] == "-m")] for command in asked}
    told = sandbox.said_against([*(each.words for each in asked), *((*script, "--help") for script in sorted(scripts))])
    for command, message in zip(asked, told, strict=False):
        bare = VALUELESS.search(message)
        lacks = any(words in message for words in ABSENT) or bare and bare[1] == command.words[-1]
        if message and not (command.excerpt and lacks):
            found.append(f"{command.source}: {message}")
    shell = "".join(path.read_text("utf-8") for path in ROOT.glob("**/*.sh") if ".venv" not in path.parts)
    known = {*re.findall(r"--\w[\w-]*", "\n".join(told[len(asked) :]) + shell), *FOREIGN_FLAGS}
    found += [f"{source}: no script has {flag}" for source, flag in flags if flag not in known]
    return list(dict.fromkeys(found))


def test_readme_and_docs_say_what_is_there(tmp_path: Path) -> None:
    pages = [Page(path, path.read_text("utf-8")) for path in PAGES]
    assert sum(text.startswith(("python ", "bash ")) for page in pages for text, _ in page.code) > 100
    found = problems(pages, tmp_path)
    assert not found, "\n" + "\n".join(found)


WRONG = {
    "[a](docs/gone.md)": "docs/gone.md: there is no such file",
    "[a](docs/costs.md#gone)": "docs/costs.md#gone: there is no such heading",
    "[a](#gone)": "#gone: there is no such heading",
    "![a](docs/images/gone.png)": "docs/images/gone.png: there is no such file",
    "`tests/gone.py`": "tests/gone.py: there is no such file",
    "`python gone.py`": "gone.py: there is no such file",
    "`python -m data.gone`": "data/gone.py: there is no such file",
    "    python demo.py --text_promt wave": "unrecognized arguments: --text_promt",
    "    python demo.py --text_prompt wave --seed much": "must be int",
    "    python demo.py": "--text_prompt",
    "```\npython -m data.check --dataset_name nowhere\n```": "nowhere",
    "    python -m benchmarks.generation --fast": "it takes no options",
    "    python demo.py --text_prompt 'a": "No closing quotation",
    "    bash run_mtrans.sh mtrans 0 humanml3d": "error: usage",
    "    bash run_rvq.sh vq 0 humanml3d --code_dim 7": "unrecognized arguments: --code_dim",
    "    bash run_mtrans.sh mtrans 2 0,1 humanml3d --heads 7": "unrecognized arguments: --heads",
    "    bash reproduce_dataset.sh mine large": "'large'",
    "    bash tests/gpu_check.sh --small": "has no --small",
    "    pip install -r requirements-gone.txt": "requirements-gone.txt: there is no such file",
    "    torchrun --nproc_per_node 2 --no-python python demo.py --text_promt wave": "unrecognized",
    "    LOGS=a python train_vq.py \\\n        --name vq --batch 7": "unrecognized arguments: --batch",
    "`eval_res.py --retrieval sometimes`": "sometimes",
    "    # a.yaml\n    lrr: 1e-3\n\n    python train_vq.py --config a.yaml": "lrr is unknown",
    "`--copy_scales`": "no script has --copy_scales",
}


def test_what_is_wrong_is_found_and_nothing_else(tmp_path: Path) -> None:
    text = (
        "# Here\n\n"
        + "\n\n".join(WRONG)
        + "\n\n[b](#here), `eval_res.py ... --report`, `build_rag_database.py --add`\n"
    )
    found = problems([Page(ROOT / "page.md", text)], tmp_path)
    missed = [expected for expected in WRONG.values() if not any(expected in each for each in found)]
    others = [each for each in found if not any(expected in each for expected in WRONG.values())]
    assert not missed and not others, f"missed: {missed}, found: {others}"


def test_the_readme_stays_a_walk() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 250
    parts = re.findall(r"^## (.*)", text, re.MULTILINE)
    assert parts[:3] == ["A motion in three minutes", "Your own data", "Research"]


def test_the_site_is_built_without_a_warning_and_asks_nothing_of_the_web(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    made = {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert {"index", "pretrained", *(path.stem for path in (ROOT / "docs").glob("*.md"))} <= made
    for path in (tmp_path / "site").glob("*.html"):
        loaded = re.findall(r"<(?:script|img|link)\b[^>]*(?:src|href)=\"(?:https?:)?//[^\"]*", path.read_text("utf-8"))
        assert not loaded, f"{path.name} loads {loaded}"
