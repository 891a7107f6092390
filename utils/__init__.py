"""Foundations: skeletons, representation, runs, errors. Of ours it imports nothing but what reads files."""
