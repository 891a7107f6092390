"""Motions as videos, pictures, animation files and pages."""
