"""Sweeps: many trials of one experiment, trained together or by Ray, in one folder."""
