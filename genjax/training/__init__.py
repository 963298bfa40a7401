"""Training: the parallel step, the loop, checkpoints and writers."""
