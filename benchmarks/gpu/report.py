"""What the GPU check found, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import table
from storage.files import atomic_path, write_json


@dataclass(frozen=True)
class Row:
    """One thing that was looked at.

    Attributes:
        what: in words.
        passed: whether it is as it should be; None: it could not be looked at here, or is a mere figure.
        figures: named numbers or words, a column each.
        note: what else there is to say: where it failed, what was compared.
    """

    what: str
    passed: bool | None
    figures: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Section:
    """What one section found. `failure` says why it did not come to its end."""

    name: str
    seconds: float
    limit: float
    rows: tuple[Row, ...]
    failure: str = ""

    @property
    def passed(self) -> bool:
        """Whether it came to its end and nothing in it failed."""
        return not self.failure and all(row.passed is not False for row in self.rows)


def write_reports(folder: Path, machine: dict[str, Any], sections: Sequence[Section]) -> None:
    """Writes gpu_check.json and gpu_check.md."""
    content = {
        "machine": machine,
        "passed": all(section.passed for section in sections),
        "sections": [asdict(section) | {"passed": section.passed} for section in sections],
    }
    write_json(folder / "gpu_check.json", content)
    with atomic_path(folder / "gpu_check.md") as temporary:
        temporary.write_text(markdown(machine, sections), encoding="utf-8")


def markdown(machine: dict[str, Any], sections: Sequence[Section]) -> str:
    """A heading, the machine, and a table a section."""
    failed = [section.name for section in sections if not section.passed]
    lines = ["# GPU check", "", "Failed: " + ", ".join(failed) if failed else "Everything passed.", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    for section in sections:
        lines += ["", f"## {section.name}", "", f"{section.seconds:.0f} s of at most {section.limit:.0f} s", ""]
        if section.failure:
            lines += [f"**{section.failure}**", ""]
        if section.rows:
            columns = list(dict.fromkeys(name for row in section.rows for name in row.figures))
            cells = (
                [row.what, *(_shown(row.figures.get(name)) for name in columns), _shown(row.passed), row.note]
                for row in section.rows
            )
            plain = ([" ".join(cell.replace("|", "/").split()) for cell in line] for line in cells)
            lines.append(table(["", *columns, "passed", ""], plain))
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "**NO**"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
