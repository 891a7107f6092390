"""Trains our own evaluator, for datasets that have none: `python train_evaluator.py --preset mini`."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import EvaluatorOptions
from utils.errors import run_script


def main() -> None:
    """Options -> datasets, text features and model -> harness."""
    options = parse(EvaluatorOptions, presets=PRESETS["evaluator"], description=__doc__)

    from engine.evaluator_task import EvaluatorTask, with_mirrored
    from models.evaluator.own import EvaluatorNetwork
    from pipeline.training import TextTraining

    training = TextTraining(options)
    train, val = training.train, training.val
    model = EvaluatorNetwork(options.model, training.spec.format, training.encoder.dim, training.normalizer())
    texts = training.texts(train, with_mirrored(train.captions)), training.texts(val, val.captions)
    training.harness("evaluator", EvaluatorTask(model, *texts)).fit()


if __name__ == "__main__":
    run_script(main)
