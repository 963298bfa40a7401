"""Flax Linen layers and networks."""
