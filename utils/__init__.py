"""Foundations: skeletons, representation, files, errors. Imports nothing of ours."""
