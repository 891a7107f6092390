"""docs/notebook.ipynb runs top to bottom, and nothing that it printed is kept in it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def cells() -> list[str]:
    """The code cells, each of which shows its last expression as a notebook does."""
    sources = []
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            source = "".join(cell["source"])
            *rest, last = ast.parse(source).body
            if isinstance(last, ast.Expr):
                shown = ast.unparse(last)
                rest.append(ast.parse(f"(lambda it: getattr(it, '_repr_html_', it.__repr__)())({shown})").body[0])
                source = ast.unparse(ast.Module(rest, []))
            sources.append(source)
    return sources


def test_the_notebook_runs_top_to_bottom_in_any_folder(tmp_path: Path) -> None:
    code = "\n".join([*cells(), "print(len(motion._repr_html_()))"])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400
    )
    assert result.returncode == 0, result.stderr
    assert "'a person hails a taxi', 0." in result.stdout, result.stdout
    assert "I do not know: backflip" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"notebook"}
    made = {path.name for path in (tmp_path / "notebook").iterdir()}
    assert made == {"my_clip.bvh", "library", "wave.bvh", "wave.glb", "wave.png", "wave.html"}
    assert int(result.stdout.split()[-1]) > 20_000
