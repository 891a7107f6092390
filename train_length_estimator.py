"""Trains the length estimator: caption -> distribution over the motion's length."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import LengthOptions
from utils.errors import run_script


def main() -> None:
    """Options -> captions and model -> harness."""
    options = parse(LengthOptions, presets=PRESETS["length"], description=__doc__)

    from engine.length_task import LengthTask
    from models.length_estimator import LengthEstimator
    from pipeline.training import TextTraining

    training = TextTraining(options, crop=False)
    text_dim, captions = training.encoder.dim, training.train.captions + training.val.captions
    model, texts = LengthEstimator(options.model, text_dim), training.store(captions)
    task = LengthTask(model, texts, training.spec.format.unit_length)
    training.harness("length", task, text_dim=text_dim).fit()


if __name__ == "__main__":
    run_script(main)
