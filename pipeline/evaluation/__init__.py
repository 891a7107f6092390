"""Evaluation: samples, protocols, scores, tables. Every table names the protocol its numbers belong to."""
