"""The article's VAE on real digits, beside the same written plainly, without genjax."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import compiled

from genjax.data.mnist_sample import mnist_sample
from genjax.losses.likelihoods import Bernoulli
from genjax.losses.priors import StandardNormal
from genjax.models.vae import VAE
from genjax.nn.heads import Posterior
from genjax.nn.mlp import MLPDecoder, MLPEncoder

STEPS, BATCH_SIZE, LATENTS = 600, 128, 20


@functools.cache
def digits(split):
    return jnp.asarray(mnist_sample(split=split).images / np.float32(255))


def reference_bound(seed):
    """The test bound in nats of the article's VAE (networks, Adam) after `STEPS` steps."""
    act = lambda x: nn.leaky_relu(x, 0.2)
    encoder = nn.Sequential([nn.Dense(128), act, nn.Dense(64), act, nn.Dense(2 * LATENTS)])
    decoder = nn.Sequential([nn.Dense(64), act, nn.Dense(128), act, nn.Dense(784)])
    optimizer = optax.adam(1e-3)
    train, test = (digits(split).reshape(-1, 784) for split in ("train", "test"))
    k1, k2, k3, k4 = jax.random.split(jax.random.key(seed), 4)
    params = encoder.init(k1, train[:1]), decoder.init(k2, jnp.zeros((1, LATENTS)))

    def bound(params, images, key):
        mean, log_var = jnp.split(encoder.apply(params[0], images), 2, axis=-1)
        latents = mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape)
        logits = decoder.apply(params[1], latents)
        log_prob = -optax.sigmoid_binary_cross_entropy(logits, images).sum(-1)
        kl = 0.5 * (jnp.exp(log_var) + mean**2 - 1 - log_var).sum(-1)
        return (log_prob - kl).mean()

    def step(carry, key):
        params, opt = carry
        images = train[jax.random.randint(key, (BATCH_SIZE,), 0, len(train))]
        gradients = jax.grad(lambda params: -bound(params, images, key))(params)
        updates, opt = optimizer.update(gradients, opt)
        return (optax.apply_updates(params, updates), opt), None

    @jax.jit
    def run(params):
        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(k3, STEPS))

    return bound(run(params)[0][0], test, k4)


MODEL = VAE(
    encoder=Posterior(MLPEncoder(widths=(128, 64)), LATENTS),
    decoder=MLPDecoder(shape=(28, 28, 1), widths=(64, 128)),
    prior=StandardNormal(),
    likelihood=Bernoulli(),
    optimizer=optax.adam(1e-3),
    latent_size=LATENTS,
    num_classes=0,
    objective="elbo",
    draws=1,
    kl_weight=optax.constant_schedule(1.0),
    free_bits=0.0,
)


def trained(seed):
    """(the model's variables after as many steps, the last step's metrics)."""
    key, rows = jax.random.key(seed), jnp.arange(BATCH_SIZE)
    state = MODEL.init(key, {"image": digits("train")})
    step = compiled(MODEL)

    def one(state, step_key):
        images = digits("train")[jax.random.randint(step_key, (BATCH_SIZE,), 0, 4000)]
        return step(state, {"image": images, "position": rows}, step_key)

    run = jax.jit(lambda state: jax.lax.scan(one, state, jax.random.split(key, STEPS)))
    state, metrics = run(state)
    return MODEL.inference_params(state), jax.tree.map(lambda rows: rows[-1], metrics)


def evaluated(params):
    """(the bound's mean over the test digits, KL per latent, posterior means)."""
    rows = {"image": digits("test"), "index": jnp.arange(500)}
    log_prob, kl, mean = MODEL.bound(params, rows, jax.random.key(0))
    return (log_prob - kl.sum(-1)).mean(), kl, mean


@pytest.fixture(scope="module")
def ours():
    return trained(seed=0)


def test_bound_is_as_good_as_that_of_the_plain_loop(ours):
    # Over seeds 0 to 7 the plain loop reached -138.5 nats (deviation 0.6), ours -138.5 (1.2). One
    # run of each differ by 1.4, so 5 nats are more than three deviations.
    bound, _, _ = evaluated(ours[0])
    assert bound > reference_bound(seed=0) - 5


def test_posterior_does_not_collapse(ours):
    params, metrics = ours
    assert metrics["active_units"] > 8
    # By the definition of Burda et al. 2016, on images that were not trained on.
    _, kl, mean = evaluated(params)
    assert (mean.var(0) > 0.01).sum() > 8
    assert kl.sum(-1).mean() > 5
