"""Checks a dataset folder: 0 it is fine, 1 something is wrong (a line each), 2 it cannot be checked at all."""

from options.check import CheckOptions
from options.command_line import parse
from utils.errors import run_script


def main() -> int:
    """Options -> dataset folder -> report, and its JSON."""
    options = parse(CheckOptions, description=__doc__)

    from data.check.folder import check_folder
    from data.check.report import format_report
    from data.specs import get_spec, moved
    from storage.files import write_json

    spec = get_spec(options.dataset_name)
    if options.dataset_root is not None:
        spec = moved(spec, options.dataset_root)
    report = check_folder(spec)
    print(format_report(report))
    if options.json is not None:
        write_json(options.json, report.to_dict())
    return 1 if report.problems or (options.strict and report.notes) else 0


if __name__ == "__main__":
    run_script(main)
