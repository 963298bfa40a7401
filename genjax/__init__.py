"""Generative image models (GAN, conditional GAN, VAE) in JAX: train, evaluate, use."""

__version__ = "0.1.0"
