"""Evaluation: scores a checkpoint and gives rows with provenance."""
