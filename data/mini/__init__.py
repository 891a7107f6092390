"""The mini dataset: procedural motions with captions."""
