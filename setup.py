"""Builds the package: the rooms of the checkout below the one name `remomask`, see remomask/checkout.py."""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).resolve().parent))

from remomask.checkout import PROGRAM, files, rewritten  # noqa: E402


class BuildPackage(build_py):
    """Puts every file in its place in the package, Python's with the names that it has there."""

    def run(self) -> None:
        if self.editable_mode:  # the checkout is imported as it is
            return
        # Of an earlier build, which may hold files that are gone.
        shutil.rmtree(Path(self.build_lib, PROGRAM), ignore_errors=True)
        for source, target in self._targets():
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.suffix == ".py":
                text = source.read_text(encoding="utf-8")  # ours
                target.write_text(rewritten(text), encoding="utf-8")
            else:
                shutil.copyfile(source, target)

    def _targets(self) -> list[tuple[Path, Path]]:
        return [(source, Path(self.build_lib, PROGRAM, place)) for source, place in files()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [] if self.editable_mode else [str(target) for _, target in self._targets()]

    def get_source_files(self) -> list[str]:
        return [str(source.relative_to(Path.cwd())) for source, _ in files()]


setup(cmdclass={"build_py": BuildPackage})
