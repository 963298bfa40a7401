"""Models of a few hundred parameters, and a training step of theirs on one device."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from genjax.losses.adversarial import ADVERSARIAL_LOSSES
from genjax.losses.likelihoods import LIKELIHOODS
from genjax.losses.priors import StandardNormal
from genjax.models.gan import GAN
from genjax.models.translation import CycleGAN, Pix2Pix, Regression
from genjax.models.vae import VAE
from genjax.nn.heads import Discriminator, Posterior
from genjax.nn.layers import AXIS
from genjax.nn.mlp import MLPDecoder, MLPEncoder
from genjax.nn.unet import PatchDiscriminator, UNet

SHAPE, LATENTS, CLASSES = (8, 8, 1), 4, 3
KEY = jax.random.key(7)


def batch(rows=6, shape=SHAPE):
    """Random images, every row another, with labels that take turns."""
    images = jax.random.uniform(jax.random.key(11), (rows, *shape))
    positions = jnp.arange(rows)
    return {"image": images, "label": positions % CLASSES, "position": positions}


def pairs(rows=6, shape=SHAPE):
    """The batch with conditions beside its images, of which nothing is missing."""
    conditions = jax.random.uniform(jax.random.key(12), (rows, *shape))
    present = jnp.ones((rows, *shape[:2], 1))
    return {**batch(rows, shape), "condition": conditions, "present": present}


def generator(conditioning="none", shape=SHAPE, **fields):
    return MLPDecoder(shape, (8,), conditioning=conditioning, num_classes=CLASSES, **fields)


def discriminator(conditioning="none", **fields):
    below = conditioning if conditioning == "concat" else "none"
    trunk = MLPEncoder((8,), conditioning=below, num_classes=CLASSES, **fields)
    spectral_norm = fields.get("spectral_norm", False)
    return Discriminator(trunk, conditioning, CLASSES, spectral_norm=spectral_norm)


def gan(**changes):
    """A GAN without labels or penalty, one update of each network a step, by gradient descent."""
    model = GAN(
        generator=generator(),
        discriminator=discriminator(),
        loss=ADVERSARIAL_LOSSES["non_saturating"],
        penalty=None,
        penalty_weight=1.0,
        auxiliary_weight=1.0,
        d_steps=1,
        ema_decay=0.999,
        d_optimizer=optax.sgd(0.1),
        g_optimizer=optax.sgd(0.1),
        latent_size=LATENTS,
        num_classes=0,
    )
    return dataclasses.replace(model, **changes)


def conditional_gan(g_conditioning="concat", d_conditioning="concat", **changes):
    return gan(
        generator=generator(g_conditioning),
        discriminator=discriminator(d_conditioning),
        num_classes=CLASSES,
        **changes,
    )


def encoder(conditioning="none"):
    return Posterior(MLPEncoder((8,), conditioning=conditioning, num_classes=CLASSES), LATENTS)


def vae(**changes):
    """A Bernoulli VAE without labels, trained on the bound itself by gradient descent."""
    model = VAE(
        encoder=encoder(),
        decoder=generator(),
        prior=StandardNormal(),
        likelihood=LIKELIHOODS["bernoulli"](),
        optimizer=optax.sgd(0.01),
        latent_size=LATENTS,
        num_classes=0,
        objective="elbo",
        draws=1,
        kl_weight=lambda step: 1.0,
        free_bits=0.0,
    )
    return dataclasses.replace(model, **changes)


def unet(normalization="instance", **fields):
    return UNet(1, detail=2, width=2, levels=1, blocks=0, normalization=normalization, **fields)


def patches(**fields):
    return PatchDiscriminator(width=2, levels=1, **fields)


def regression(**changes):
    """A network from images to images, by gradient descent."""
    model = Regression(generator=unet(), g_optimizer=optax.sgd(0.1), ema_decay=0.9)
    return dataclasses.replace(model, **changes)


def pix2pix(**changes):
    """The same with a discriminator, and the game of least squares."""
    model = Pix2Pix(
        generator=unet(),
        discriminator=patches(),
        g_optimizer=optax.sgd(0.1),
        d_optimizer=optax.sgd(0.1),
        loss=ADVERSARIAL_LOSSES["least_squares"],
        l1_weight=2.0,
        ema_decay=0.9,
    )
    return dataclasses.replace(model, **changes)


def cyclegan(**changes):
    """Both ways, and a pool of ten images each."""
    model = CycleGAN(
        forward=unet(),
        backward=unet(),
        image_judge=patches(),
        condition_judge=patches(),
        g_optimizer=optax.sgd(0.1),
        d_optimizer=optax.sgd(0.1),
        loss=ADVERSARIAL_LOSSES["least_squares"],
        cycle_weight=2.0,
        identity_weight=3.0,
        pool_size=10,
        ema_decay=0.9,
    )
    return dataclasses.replace(model, **changes)


def initial(model, **shapes):
    """The model's state before the first step."""
    return jax.jit(model.init)(KEY, pairs(**shapes))


def compiled(model):
    """The model's `train_step`, whose mapped axis is one device long."""
    everywhere = PartitionSpec()
    return jax.jit(
        jax.shard_map(
            model.train_step,
            mesh=Mesh(jax.devices()[:1], (AXIS,)),
            in_specs=everywhere,
            out_specs=everywhere,
            check_vma=False,
        )
    )


def same(a, b):
    """Whether two trees hold the same numbers."""
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), a, b)))


def finite(tree):
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))
