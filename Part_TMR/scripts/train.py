"""Trains the retriever: `python -m Part_TMR.scripts.train --dataset_name mini --preset mini`."""

from functools import partial

from options.stages import RetrieverOptions
from pipeline.train import train
from utils.errors import run_script

main = partial(train, RetrieverOptions, __doc__)

if __name__ == "__main__":
    run_script(main)
