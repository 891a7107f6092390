"""Many mutated files of every kind: `python -m tests.long.fuzz --cases 50000 --seed 0` prints a table a kind."""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.kinds import MODULES
from tests.fuzz.run import failures, run, table


def main() -> int:
    """Runs the cases of all modules; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", choices=MODULES, action="append")
    options = parser.parse_args()
    modules = options.module or MODULES
    results = [each for module in modules for each in run(module, options.cases // len(modules), options.seed)]
    print(table(results))
    print(*failures(results), sep="\n")
    return int(bool(failures(results)))


if __name__ == "__main__":
    sys.exit(main())
