"""What all tests share."""

import random

import pytest


@pytest.fixture(autouse=True)
def python_generator() -> None:
    """The generator that samples' random numbers come from starts alike in every test."""
    random.seed(0)
