"""Datasets: where they lie, their clips and captions, and the torch datasets made of them."""
