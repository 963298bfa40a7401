"""Losses: pure, elementwise, on logits; the caller reduces."""
