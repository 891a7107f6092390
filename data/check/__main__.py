"""Checks a dataset folder, or several: 0 fine, 1 something is wrong (a line each), 2 it cannot be checked at all."""

from options.check import CheckOptions
from options.command_line import parse
from utils.errors import UserError, run_script


def main() -> int:
    """Options -> dataset folder -> report, and its JSON."""
    options = parse(CheckOptions, description=__doc__)

    from data.check.folder import check_sets
    from data.check.report import format_report
    from data.specs import get_spec, moved
    from storage.files import write_json

    spec = get_spec(options.dataset_name)
    if options.dataset_root is not None:
        if spec.members:
            raise UserError(f"--dataset_root is the place of one dataset, not of {spec.argument}")
        spec = moved(spec, options.dataset_root)
    reports = check_sets(spec)
    print("\n".join(map(format_report, reports)))
    if options.json is not None:
        told = [report.to_dict() for report in reports]
        fine = all(each["fine"] for each in told)
        write_json(options.json, {"dataset": spec.name, "fine": fine, "sets": told} if spec.members else told[0])
    return 1 if any(report.problems or (options.strict and report.notes) for report in reports) else 0


if __name__ == "__main__":
    run_script(main)
