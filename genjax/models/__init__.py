"""Models: networks, losses and sampler as pure functions of a TrainState."""
