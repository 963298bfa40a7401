"""The four faults of the article's code, none of which ours may have."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import (
    KEY,
    LATENTS,
    batch,
    compiled,
    conditional_gan,
    encoder,
    gan,
    generator,
    initial,
    vae,
)

from genjax.losses.divergences import gaussian_kl


class TestDiscriminatorSeesRealImages:
    """The article's is trained on generated images alone."""

    @pytest.fixture(scope="class")
    def start(self):
        model = gan(d_optimizer=optax.adam(1e-2), g_optimizer=optax.sgd(0.0))
        return initial(model), compiled(model)

    def test_its_update_depends_on_the_real_images(self, start):
        state, step = start
        after, _ = step(state, batch(), KEY)
        other, _ = step(state, batch() | {"image": 1 - batch()["image"]}, KEY)
        first_layer = lambda state: state.params["discriminator"]["trunk"]["Dense_0"]["kernel"]
        assert (first_layer(after) != first_layer(other)).any(1).all()  # in every pixel

    def test_it_tells_real_from_fake_where_that_is_easy(self, start):
        state, step = start
        white = batch() | {"image": jnp.ones_like(batch()["image"])}
        for number in range(30):
            state, metrics = step(state, white, jax.random.fold_in(KEY, number))
        assert metrics["d_real"] > 1 > -1 > metrics["d_fake"]


#: The network, how it takes the label, and its table with one row for each class.
TABLES = [
    ("generator", "concat", lambda params: params["Dense_0"]["kernel"][LATENTS:]),
    ("generator", "batch_norm", lambda params: params["Normalize_0"]["scale"]["embedding"]),
    ("generator", "batch_norm", lambda params: params["Normalize_0"]["bias"]["embedding"]),
    ("discriminator", "concat", lambda params: params["trunk"]["Dense_0"]["kernel"][64:]),
    ("discriminator", "projection", lambda params: params["Embed_0"]["embedding"]),
]


class TestLabelsReachTheNetworks:
    """The article assigns them into a constant."""

    @pytest.fixture(scope="class")
    def steps(self):
        """A step on labels 0 and 2 for each way into the networks: (params before, after)."""
        labels = {"label": jnp.array([0, 2, 0, 2, 0, 2])}

        def run(model):
            state = initial(model)
            return state.params, compiled(model)(state, batch() | labels, KEY)[0].params

        return {
            "concat": run(conditional_gan("concat", "concat")),
            "batch_norm": run(both := conditional_gan("batch_norm", "projection")),
            "projection": run(both),
            "vae": run(vae(encoder=encoder("concat"), decoder=generator("concat"), num_classes=3)),
        }

    @pytest.mark.parametrize(("network", "how", "table"), TABLES)
    def test_the_rows_of_the_batchs_classes_learn_and_no_others(self, steps, network, how, table):
        before, after = (table(params[network]) for params in steps[how])
        np.testing.assert_array_equal((before != after).any(1), [True, False, True])

    @pytest.mark.parametrize(("network", "rows"), [("encoder", 64), ("decoder", LATENTS)])
    def test_and_so_in_a_conditional_vae(self, steps, network, rows):
        before, after = (
            params[network].get("trunk", params[network])["Dense_0"]["kernel"][rows:]
            for params in steps["vae"]
        )
        np.testing.assert_array_equal((before != after).any(1), [True, False, True])

    def test_an_auxiliary_classifier_learns_the_labels(self):
        model = conditional_gan(
            "concat", "auxiliary", d_optimizer=optax.adam(1e-2), g_optimizer=optax.sgd(0.0)
        )
        state, step = initial(model), compiled(model)
        losses = []
        for number in range(30):
            state, metrics = step(state, batch(), jax.random.fold_in(KEY, number))
            losses.append(float(metrics["d_class_loss"]))
        # Guessing costs log 3 for the real and as much for the fake images.
        assert losses[-1] < 0.5 * 2 * np.log(3) < losses[0]


@pytest.fixture(scope="module")
def plain_vae():
    model = vae(optimizer=optax.sgd(0.0))
    return initial(model), compiled(model)


class TestSignOfTheDivergence:
    """The article's has mu^2 and log sigma^2 the wrong way round."""

    MEANS, DEVIATIONS = (0.0, 0.5, -1.0, 3.0), (0.2, 1.0, 2.5)

    @pytest.mark.parametrize("deviation", DEVIATIONS)
    def test_it_is_the_closed_form(self, plain_vae, deviation):
        state, step = plain_vae
        # An encoder that says N(mean, deviation^2) whatever it sees, another mean for each latent.
        head = jax.tree.map(jnp.zeros_like, state.params["encoder"]["Dense_0"])
        log_vars = np.full(LATENTS, 2 * np.log(deviation))
        head["bias"] = jnp.array([*self.MEANS, *log_vars])
        params = state.params | {"encoder": state.params["encoder"] | {"Dense_0": head}}
        _, metrics = step(state.replace(params=params), batch(), KEY)
        means = np.array(self.MEANS)
        expected = 0.5 * (deviation**2 + means**2 - 1 - np.log(deviation**2))
        np.testing.assert_allclose(metrics["kl_per_dimension"], expected, rtol=1e-4, atol=1e-6)
        # Summed over the latents, whose number it grows with.
        np.testing.assert_allclose(metrics["kl"], expected.sum(), rtol=1e-4)
        elbo = metrics["log_prob"] - expected.sum()
        np.testing.assert_allclose(metrics["elbo"], elbo, rtol=1e-5)

    def test_it_is_never_negative_and_grows_with_the_mean(self):
        means, log_vars = jnp.meshgrid(jnp.linspace(0, 5, 21), jnp.linspace(-6, 6, 25))
        kl = gaussian_kl(means, log_vars)
        assert (kl >= 0).all()
        assert (jnp.diff(kl, axis=1) > 0).all()
        assert kl[12, 0] == 0  # the prior itself


class TestSumsOverPixelsThenOneMeanOverTheBatch:
    """The article adds a mean over pixels to a sum over the batch, and the posterior collapses.

    That ours does not is in `test_reference_vae.py`.
    """

    def test_a_batch_twice_over_costs_as_much_as_once(self, plain_vae):
        state, _ = plain_vae
        step = compiled(vae())
        once, metrics = step(state, batch(), KEY)
        # Positions too: the copies draw the same noise.
        doubled = jax.tree.map(lambda rows: jnp.concatenate([rows, rows]), batch())
        twice, same_metrics = step(state, doubled, KEY)
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        jax.tree.map(close, (once, metrics), (twice, same_metrics))

    @pytest.mark.parametrize("side", [8, 16])
    def test_twice_the_side_is_four_times_the_pixels(self, side):
        model = vae(decoder=generator(shape=(side, side, 1)))
        shape = {"shape": (side, side, 1)}
        state = initial(model, **shape)
        # Logits of 0 give every pixel the probability 1/2: log 2 nats each.
        flat = jax.tree.map(jnp.zeros_like, state.params["decoder"])
        state = state.replace(params=state.params | {"decoder": flat})
        _, metrics = compiled(model)(state, batch(**shape), KEY)
        np.testing.assert_allclose(metrics["log_prob"], -(side**2) * np.log(2), rtol=1e-4)
