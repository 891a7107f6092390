"""Exports a trained run: `python export_run.py --run logs/mini/vq --out pretrained/mini/vq`."""

from options.command_line import parse
from options.inspect import ExportOptions
from utils.errors import run_script


def main() -> None:
    """Options -> half-precision weights and config."""
    options = parse(ExportOptions, description=__doc__)

    from pipeline.export import export_run

    weights = export_run(options.run, options.out, options.which_epoch)
    print(f"wrote {weights} ({weights.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_script(main)
