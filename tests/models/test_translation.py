"""Models from images to images: what they learn, what each part is shown, losses by hand."""

import collections
import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec
from small_models import KEY, compiled, cyclegan, initial, pairs, pix2pix, regression, same

from genjax import rng
from genjax.models.translation import WAYS, from_pool
from genjax.nn.layers import AXIS

PAIRS = pairs()
X, Y = (2 * np.asarray(PAIRS[name], np.float64) - 1 for name in ("condition", "image"))
STILL = optax.set_to_zero()


class Affine(nn.Module):
    """As a generator, scale x + shift; as a discriminator, that for each pixel, weighed.

    What is missing is `at_holes`, where that is given.
    """

    scale: float
    shift: float
    weights: tuple[float, ...] = (1.0,)
    at_holes: float | None = None

    @nn.compact
    def __call__(self, images, present=None, *, train):
        scale = self.param("scale", nn.initializers.constant(self.scale), ())
        shift = self.param("shift", nn.initializers.constant(self.shift), ())
        if len(self.weights) > 1:
            images = images @ jnp.array(self.weights)[:, None]
        made = scale * images + shift
        return made if self.at_holes is None else jnp.where(present == 1, made, self.at_holes)


def affine(params):
    return float(params["scale"]), float(params["shift"])


def distance(a, b):
    """In units of [0, 1], which is half as wide as [-1, 1]."""
    return np.abs(a - b).mean() / 2


def stepped(model, rows=PAIRS):
    """(state before, state after one step, its metrics)."""
    before = initial(model)
    return before, *compiled(model)(before, rows, KEY)


# --- with the answer given -----------------------------------------------------------------------


def test_regression_learns_to_invert():
    """y = 1 - x in [0, 1] is scale -1, shift 0 in [-1, 1]; no other pair has an error of 0."""
    rate = optax.cosine_decay_schedule(0.1, 150)
    model = regression(generator=Affine(0.5, 0.3), g_optimizer=optax.adam(rate), ema_decay=0.5)
    rows = {**PAIRS, "image": 1 - PAIRS["condition"]}
    state, step = initial(model), compiled(model)
    for _ in range(150):
        state, metrics = step(state, rows, KEY)
    assert metrics.keys() == {"l1", "g_gradient_norm", "g_dead_units"}
    assert metrics["l1"] < 0.005
    assert affine(state.params["generator"]) == pytest.approx((-1, 0), abs=0.01)
    made = model.translate(model.inference_params(state), jnp.full((1, 2, 2, 1), 0.25))
    np.testing.assert_allclose(made, 0.75, atol=0.01)


def test_the_error_is_in_units_of_pixels():
    _, _, metrics = stepped(regression(generator=Affine(0.5, 0.3)))
    assert metrics["l1"] == pytest.approx(distance(0.5 * X + 0.3, Y), rel=1e-5)
    # Of the images themselves where the network changes nothing.
    _, _, metrics = stepped(regression(generator=Affine(1.0, 0.0)))
    expected = np.abs(PAIRS["condition"] - PAIRS["image"]).mean()
    assert metrics["l1"] == pytest.approx(expected, rel=1e-5)


def test_it_is_the_moving_average_that_translates():
    """After the first step it is nine tenths of the new: at step n it keeps (1 + n) / (10 + n)."""
    model = regression(generator=Affine(0.5, 0.3), ema_decay=0.999)
    before, after, _ = stepped(model)
    old, new = affine(before.params["generator"]), affine(after.params["generator"])
    average = affine(model.inference_params(after)["params"])
    assert old != pytest.approx(new)
    assert average == pytest.approx([0.1 * a + 0.9 * b for a, b in zip(old, new, strict=True)])
    made = model.translate(model.inference_params(after), PAIRS["condition"])
    expected = (average[0] * X + average[1] + 1) / 2
    np.testing.assert_allclose(made, expected.clip(0, 1), rtol=1e-5, atol=1e-6)


def test_translations_end_at_black_and_white():
    model = regression(generator=Affine(3.0, 0.0))
    images = jnp.array([0.0, 0.4, 0.5, 0.6, 1.0]).reshape(1, 1, 5, 1)
    made = model.translate(model.inference_params(initial(model)), images)
    np.testing.assert_allclose(made.ravel(), [0, 0.2, 0.5, 0.8, 1], atol=1e-6)


def test_the_network_is_told_which_pixels_are_missing():
    """In training and after it; what is missing is -1, in its range, and 0 in pixels'."""
    holes = np.arange(64).reshape(8, 8, 1) % 3 == 0
    rows = {**PAIRS, "present": jnp.broadcast_to(jnp.where(holes, 0.0, 1.0), (6, 8, 8, 1))}
    model = regression(generator=Affine(0.5, 0.3, at_holes=0.6))
    _, after, metrics = stepped(model, rows)
    expected = np.where(holes, 0.6, 0.5 * X + 0.3)
    assert metrics["l1"] == pytest.approx(distance(expected, Y), rel=1e-5)
    params = model.inference_params(after)
    made = model.restore(params, rows["condition"], rows["present"])
    np.testing.assert_allclose(made[:, holes[..., 0]], 0.8, rtol=1e-6)
    whole = model.translate(params, rows["condition"])
    np.testing.assert_array_equal(made[:, ~holes[..., 0]], whole[:, ~holes[..., 0]])
    assert (np.abs(whole[:, holes[..., 0]] - 0.8) > 1e-3).any()


def test_a_network_without_holes_sees_the_images_alone():
    told = regression(generator=Affine(0.5, 0.3, at_holes=0.6))
    model = dataclasses.replace(told, told_holes=False, generator=Affine(0.5, 0.3))
    _, after, metrics = stepped(model, {**PAIRS, "present": jnp.zeros((6, 8, 8, 1))})
    assert metrics["l1"] == pytest.approx(distance(0.5 * X + 0.3, Y), rel=1e-5)
    params, nothing = model.inference_params(after), jnp.zeros((6, 8, 8, 1))
    made = model.restore(params, PAIRS["condition"], nothing)
    np.testing.assert_array_equal(made, model.translate(params, PAIRS["condition"]))


# --- with a discriminator besides ----------------------------------------------------------------


def test_the_conditional_game_by_hand():
    """Least squares; the generator is judged by the discriminator as it is after its update."""
    judge = Affine(0.7, 0.1, weights=(2.0, -1.0))
    model = pix2pix(generator=Affine(0.5, 0.3), discriminator=judge, g_optimizer=STILL)
    _, after, metrics = stepped(model)
    made = 0.5 * X + 0.3
    # The first channel is the condition's.
    seen = {"real": 2 * X - Y, "fake": 2 * X - made}
    real, fake = (0.7 * seen[kind] + 0.1 for kind in ("real", "fake"))
    assert metrics["d_real"] == pytest.approx(real.mean(), rel=1e-4)
    assert metrics["d_fake"] == pytest.approx(fake.mean(), rel=1e-4)
    loss = 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean()
    assert metrics["d_loss"] == pytest.approx(loss, rel=1e-4)
    slope = ((real - 1) * seen["real"]).mean() + (fake * seen["fake"]).mean()
    scale, shift = 0.7 - 0.1 * slope, 0.1 - 0.1 * ((real - 1).mean() + fake.mean())
    assert affine(after.params["discriminator"]) == pytest.approx((scale, shift), rel=1e-4)
    judged = scale * seen["fake"] + shift
    assert metrics["g_loss"] == pytest.approx(0.5 * ((judged - 1) ** 2).mean(), rel=1e-4)
    assert metrics["l1"] == pytest.approx(distance(made, Y), rel=1e-5)


def test_the_generator_goes_down_both_losses_by_their_weights():
    """With a judge at rest, the gradient in the shift b of a x + b is known."""
    judge = Affine(0.7, 0.1, weights=(2.0, -1.0))
    model = pix2pix(
        generator=Affine(0.5, 0.3), discriminator=judge, d_optimizer=STILL, l1_weight=2.0
    )
    _, after, _ = stepped(model)
    made = 0.5 * X + 0.3
    judged = 0.7 * (2 * X - made) + 0.1
    slope = -0.7 * (judged - 1).mean() + 2.0 * np.sign(made - Y).mean() / 2
    _, shift = affine(after.params["generator"])
    assert shift == pytest.approx(0.3 - 0.1 * slope, rel=1e-4)


@pytest.mark.parametrize("resting", ["generator", "discriminator"])
def test_an_update_changes_its_own_parameters_only(resting):
    judge = Affine(0.7, 0.1, weights=(2.0, -1.0))
    model = pix2pix(
        generator=Affine(0.5, 0.3), discriminator=judge, **{f"{resting[0]}_optimizer": STILL}
    )
    before, after, _ = stepped(model)
    for name in ("generator", "discriminator"):
        assert same(before.params[name], after.params[name]) == (name == resting)
    # The average follows the generator, whose it is.
    average = affine(model.inference_params(after)["params"])
    assert (average == pytest.approx((0.5, 0.3))) == (resting == "generator")


# --- without pairs -------------------------------------------------------------------------------

FORWARD, BACKWARD = (0.5, 0.3), (-0.8, 0.2)
IMAGE_JUDGE, CONDITION_JUDGE = (0.7, 0.1), (0.4, -0.2)


CYCLES = cyclegan(
    forward=Affine(*FORWARD),
    backward=Affine(*BACKWARD),
    image_judge=Affine(*IMAGE_JUDGE),
    condition_judge=Affine(*CONDITION_JUDGE),
    cycle_weight=2.0,
    identity_weight=3.0,
)


@functools.cache
def cycled():
    """(state before, the compiled step, state after one, its metrics)."""
    state, step = initial(CYCLES), compiled(CYCLES)
    return state, step, *step(state, PAIRS, KEY)


def there(images):
    return FORWARD[0] * images + FORWARD[1]


def back(images):
    return BACKWARD[0] * images + BACKWARD[1]


def judge(params, images):
    return params[0] * images + params[1]


def test_the_cycles_by_hand():
    *_, metrics = cycled()
    assert metrics["cycle"] == pytest.approx(
        distance(back(there(X)), X) + distance(there(back(Y)), Y), rel=1e-5
    )
    # Images that are of its kind already.
    assert metrics["identity"] == pytest.approx(
        distance(there(Y), Y) + distance(back(X), X), rel=1e-5
    )
    fakes = judge(IMAGE_JUDGE, there(X)), judge(CONDITION_JUDGE, back(Y))
    game = sum(0.5 * ((logits - 1) ** 2).mean() for logits in fakes)
    assert metrics["g_loss"] == pytest.approx(game, rel=1e-5)
    # The pools are empty, so that the discriminators are shown these very fakes.
    reals = judge(IMAGE_JUDGE, Y), judge(CONDITION_JUDGE, X)
    loss = sum(
        0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean()
        for real, fake in zip(reals, fakes, strict=True)
    )
    assert metrics["d_loss"] == pytest.approx(loss, rel=1e-4)
    assert metrics["d_real"] == pytest.approx(np.mean([real.mean() for real in reals]), rel=1e-4)
    assert metrics["d_fake"] == pytest.approx(np.mean([fake.mean() for fake in fakes]), rel=1e-4)


def test_the_generators_go_down_all_losses_by_their_weights():
    """The gradient in the shift of the way there, by differences of the loss as written above."""

    def loss(shift):
        go = lambda images: FORWARD[0] * images + shift
        game = 0.5 * ((judge(IMAGE_JUDGE, go(X)) - 1) ** 2).mean()
        cycle = distance(back(go(X)), X) + distance(go(back(Y)), Y)
        return game + 2.0 * cycle + 3.0 * distance(go(Y), Y)

    _, _, after, _ = cycled()
    slope = (loss(FORWARD[1] + 1e-4) - loss(FORWARD[1] - 1e-4)) / 2e-4
    _, shift = affine(after.params["generator"]["forward"])
    assert shift == pytest.approx(FORWARD[1] - 0.1 * slope, abs=1e-4)


def test_without_its_weight_identity_is_not_even_asked_for():
    """Where a condition has other channels than an image, it could not be."""
    grey, colour = nn.Dense(1), nn.Dense(3)

    class Layer(nn.Module):
        layer: nn.Module

        def __call__(self, images, *, train):
            return self.layer(images)

    model = cyclegan(
        forward=Layer(colour), backward=Layer(grey), image_judge=Layer(grey),
        condition_judge=Layer(grey), identity_weight=0.0,
    )  # fmt: skip
    rows = {**PAIRS, "image": jnp.repeat(PAIRS["image"], 3, axis=-1)}
    state = jax.jit(model.init)(KEY, rows)
    pools = {way: state.stats["pool"][way]["images"].shape for way in WAYS}
    assert pools == {"forward": (10, 8, 8, 3), "backward": (10, 8, 8, 1)}
    after, metrics = compiled(model)(state, rows, KEY)
    assert "identity" not in metrics
    params = model.inference_params(after)
    assert model.translate(params, rows["condition"]).shape == (6, 8, 8, 3)
    assert model.translate_back(params, rows["image"]).shape == (6, 8, 8, 1)


def test_discriminators_are_shown_what_lies_in_the_pools():
    """Past fakes of 5 everywhere: a logit says how many of the six were shown."""
    state, step, _, _ = cycled()
    pool = {
        way: {"images": jnp.full((10, 8, 8, 1), 5.0), "filled": jnp.ones(10, bool)} for way in WAYS
    }
    state = state.replace(stats=state.stats | {"pool": pool})
    after, metrics = step(state, PAIRS, KEY)
    logits = 0.0
    made = {"forward": there(X), "backward": back(Y)}
    for way, params in (("forward", IMAGE_JUDGE), ("backward", CONDITION_JUDGE)):
        kept = np.asarray(after.stats["pool"][way]["images"])
        new = [image for image in kept if not (image == 5).all()]
        # A fake that was kept was not shown; an older one was shown in its stead.
        shown = [image for image in made[way] if not any(np.allclose(image, k) for k in new)]
        assert len(shown) + len(new) == 6
        assert 0 < len(new) < 6
        shown += [np.full((8, 8, 1), 5.0)] * len(new)
        logits += judge(params, np.stack(shown)).mean() / 2
    assert metrics["d_fake"] == pytest.approx(logits, rel=1e-4)


def test_there_and_back_are_the_averages_of_two_networks():
    _, _, after, _ = cycled()
    params = CYCLES.inference_params(after)
    for way, start, run in (
        ("forward", FORWARD, CYCLES.translate),
        ("backward", BACKWARD, CYCLES.translate_back),
    ):
        new = affine(after.params["generator"][way])
        average = [0.1 * a + 0.9 * b for a, b in zip(start, new, strict=True)]
        assert affine(params[way]["params"]) == pytest.approx(average, rel=1e-5)
        made = np.asarray(run(params, PAIRS["condition"]))
        expected = ((average[0] * X + average[1] + 1) / 2).clip(0, 1)
        np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)
        assert not np.allclose(new, start)


# --- the pool ------------------------------------------------------------------------------------

POOL, BATCH, ROUNDS = 16, 8, 60


@functools.cache
def pooled(num_devices):
    """`from_pool` of a batch that so many devices share."""
    mesh = Mesh(jax.devices()[:num_devices], (AXIS,))
    split, whole = PartitionSpec(AXIS), PartitionSpec()

    def run(pool, made, key):
        place = jax.lax.axis_index(AXIS) * len(made) + jnp.arange(len(made))
        return from_pool(pool, made, place, key)

    return jax.jit(
        jax.shard_map(
            run,
            mesh=mesh,
            in_specs=(whole, split, whole),
            out_specs=(split, whole),
            check_vma=False,
        )
    )


@functools.cache
def rounds(num_devices):
    """Each round's (pool before, made, shown, pool after); no two fakes are alike."""
    pool, found = {"images": np.zeros((POOL, 1, 1, 1)), "filled": np.zeros(POOL, bool)}, []
    for number in range(ROUNDS):
        made = np.arange(BATCH, dtype=np.float32).reshape(BATCH, 1, 1, 1) + number * BATCH + 1
        shown, after = pooled(num_devices)(pool, made, jax.random.key(number))
        after = jax.device_get(after)
        found.append((pool, made, np.asarray(shown), after))
        pool = after
    return found


def kept(pool):
    return collections.Counter(pool["images"][pool["filled"]].ravel().tolist())


def count(images):
    return collections.Counter(images.ravel().tolist())


def test_an_empty_pool_keeps_what_it_shows():
    before, made, shown, after = rounds(1)[0]
    assert not before["filled"].any()
    np.testing.assert_array_equal(shown, made)
    assert kept(after) == count(made)


def test_no_fake_is_lost_or_shown_twice():
    """What lay there and what was made is what lies there and what was shown.

    Once more where a place was empty: there a fake is shown and kept.
    """
    for before, made, shown, after in rounds(1):
        filled = after["filled"].sum() - before["filled"].sum()
        twice = kept(after) + count(shown) - kept(before) - count(made)
        assert not kept(before) + count(made) - kept(after) - count(shown)
        assert twice.total() == filled
        assert set(twice) <= set(made.ravel())
        assert max(kept(after).values()) == 1
    assert after["filled"].all()


def test_half_of_what_a_full_pool_shows_is_older():
    full = [each for each in rounds(1) if each[0]["filled"].all()]
    older = [(shown != made).ravel() for _, made, shown, _ in full]
    num = BATCH * len(full)
    assert num > 300
    assert abs(np.sum(older) - num / 2) < 5 * np.sqrt(num) / 2
    # At each place of the batch, as often.
    assert (np.mean(older, axis=0) > 0.2).all()
    # Some wait for longer than a round.
    ages = np.concatenate([(made - shown).ravel() for _, made, shown, _ in full])
    assert ages.max() > 3 * BATCH


def test_eight_devices_share_one_pool():
    for ours, theirs in zip(rounds(1), rounds(8), strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_batch_may_be_as_large_as_the_pool():
    made = np.arange(POOL, dtype=np.float32).reshape(POOL, 1, 1, 1)
    pool = {"images": made - 100, "filled": np.ones(POOL, bool)}
    shown, after = pooled(1)(pool, made, rng.key(0, "pool"))
    assert kept(jax.device_get(after)) + count(np.asarray(shown)) == count(made) + kept(pool)
