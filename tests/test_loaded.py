"""A run as functions of arrays: batches and single pictures, samples, latents."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

import genjax
from genjax import loaded as loaded_module
from genjax import rng
from genjax.errors import UserError
from genjax.imaging.degradations import parse
from genjax.models.base import sample_latents

QUICK = {"restarts": 2, "steps": 3}


@pytest.fixture(scope="module")
def models(picture_runs) -> dict[str, loaded_module.Loaded]:
    return {name: genjax.load(workdir) for name, workdir in picture_runs.items()}


@pytest.fixture(scope="module")
def images(models) -> np.ndarray:
    """Two digits, [2, 28, 28, 1] in [0, 1]."""
    source = models["vae"].experiment.sources["test"]
    return np.stack([source[n]["image"] for n in (0, 1)]).astype(np.float32) / 255


def test_the_last_and_the_best_checkpoint_are_loaded_by_name(models, picture_runs):
    assert models["vae"].step == 24
    assert genjax.load(picture_runs["vae"], "best").step <= 24
    with pytest.raises(UserError, match="checkpoint: no such choice 'first'"):
        genjax.load(picture_runs["vae"], "first")
    with pytest.raises(UserError, match="nowhere"):
        genjax.load("nowhere")


def test_a_run_is_used_where_its_images_are_gone(models, picture_runs, tmp_path):
    """Here no data set of that name is known."""
    for name in ("gan", "restore"):
        workdir = tmp_path / name
        shutil.copytree(picture_runs[name], workdir)
        config = json.loads((workdir / "config.json").read_text())
        config["data"]["name"] = "gone"
        (workdir / "config.json").write_text(json.dumps(config))
    sampled, expected = (each.sample(2) for each in (genjax.load(tmp_path / "gan"), models["gan"]))
    np.testing.assert_array_equal(sampled, expected)
    restorer = genjax.load(tmp_path / "restore")
    assert restorer.input_shape == (28, 28, 1)
    # A run of an earlier version looks its images up; a damaged file is named.
    facts = tmp_path / "gan" / "data.json"
    for content, said in (("{}", r"data\.json: is no description"), (None, "data.name: no such")):
        facts.unlink() if content is None else facts.write_text(content)
        with pytest.raises(UserError, match=said):
            genjax.load(tmp_path / "gan")


def test_shapes_are_those_of_the_images(models):
    assert models["vae"].image_shape == models["vae"].input_shape == (28, 28, 1)
    assert models["restore"].image_shape == models["restore"].input_shape == (28, 28, 1)
    assert models["shapes"].image_shape == (16, 16, 3)


def test_a_sample_is_its_own_however_many_there_are(models):
    ten = models["gan"].sample(10, seed=3)
    assert ten.shape == (10, 28, 28, 1)
    np.testing.assert_allclose(models["gan"].sample(4, seed=3), ten[:4], atol=1e-6)
    assert np.abs(models["gan"].sample(4, seed=4) - ten[:4]).max() > 1e-3


def test_labels_are_every_class_in_turn_unless_given(models):
    ten = models["gan"].sample(10)
    in_turn = models["gan"].sample(10, labels=np.arange(10, dtype=np.int32))
    np.testing.assert_array_equal(ten, in_turn)
    sevens = models["gan"].sample(10, labels=np.full(10, 7, np.int32))
    same = [np.allclose(a, b, atol=1e-6) for a, b in zip(ten, sevens, strict=True)]
    assert [n for n, each in enumerate(same) if each] == [7]


def test_truncation_keeps_latents_within_its_bounds(models):
    vae, positions = models["vae"], jnp.arange(50)
    key = rng.key(0, "sample")
    free = np.asarray(sample_latents(vae.model, vae.params, key, positions))
    cut = np.asarray(sample_latents(vae.model, vae.params, key, positions, 0.5))
    assert np.abs(free).max() > 2 > 0.5 >= np.abs(cut).max()
    np.testing.assert_allclose(vae.sample(50, truncation=0.5), vae.generate(cut), atol=1e-5)
    # All of a normal distribution lies within nine deviations.
    np.testing.assert_allclose(vae.sample(4, truncation=9.0), vae.sample(4), atol=1e-4)


def test_an_interpolation_ends_at_the_images_of_its_latents(models):
    for name in ("vae", "gan"):
        model = models[name]
        way = model.interpolate(2, 3, seed=1)
        ends = sample_latents(model.model, model.params, rng.key(1, "interpolate"), jnp.arange(4))
        labels = np.array([0, 1, 0, 1], np.int32) if name == "gan" else None
        images = model.generate(ends, labels)
        np.testing.assert_allclose(way[:, 0], images[:2], atol=1e-5)
        np.testing.assert_allclose(way[:, 2], images[2:], atol=1e-5)
        # Half-way along the circle between two normal latents, and not along the line.
        first, last = np.split(np.asarray(ends), 2)
        norms = np.linalg.norm(first, axis=1) * np.linalg.norm(last, axis=1)
        angle = np.arccos((first * last).sum(1) / norms)[:, None]
        labels = None if labels is None else labels[:2]
        circle = model.generate((first + last) / (2 * np.cos(angle / 2)), labels)
        np.testing.assert_allclose(way[:, 1], circle, atol=1e-5)
        assert np.abs(way[:, 1] - model.generate((first + last) / 2, labels)).max() > 1e-3


def test_a_batch_and_one_picture_of_that_size_give_the_same(models, images):
    pairs = [
        (models["restore"].restore(images), models["restore"].restore(images[0])),
        (models["cycle"].translate(images), models["cycle"].translate(images[0])),
        (
            models["cycle"].translate(images, back=True),
            models["cycle"].translate(images[0], back=True),
        ),
    ]
    for batch, single in pairs:
        assert single.shape == (28, 28, 1)
        np.testing.assert_allclose(batch[0], single, atol=1e-5)
    forth, back = pairs[1][0], pairs[2][0]
    assert np.abs(forth - back).max() > 1e-3


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_a_prior_gives_a_batch_and_one_picture_the_same(models, images, name):
    ask = models[name].explain
    for batch, single in zip(
        ask(images, "gaussian_noise:0.2", **QUICK),
        ask(images[0], "gaussian_noise:0.2", **QUICK),
        strict=True,
    ):
        assert batch.shape == images.shape
        np.testing.assert_allclose(batch[0], single, atol=1e-4)


def test_restore_is_the_mean_that_explain_gives(models, images):
    mean, deviation = models["vae"].explain(images, "gaussian_noise", **QUICK)
    np.testing.assert_array_equal(models["vae"].restore(images, "gaussian_noise", **QUICK), mean)
    assert deviation.min() >= 0
    assert deviation.max() > 0


@pytest.mark.parametrize("method", ["search", "impute"])
def test_what_was_seen_comes_back_and_what_was_not_is_uncertain(models, images, method):
    mask = np.ones_like(images)
    mask[:, :, 14:] = 0
    damaged = images * mask
    made, deviation = models["vae"].explain(
        damaged, "missing_pixels", {"mask": mask}, method=method, **QUICK
    )
    assert np.abs(made - images)[mask == 1].max() < 0.03
    assert deviation[mask == 1].max() < 0.03 < deviation[mask == 0].max()
    # What lies under the mask is not looked at.
    scribbled = np.where(mask == 1, images, 1).astype(np.float32)
    again, _ = models["vae"].explain(
        scribbled, "missing_pixels", {"mask": mask}, method=method, **QUICK
    )
    np.testing.assert_allclose(again, made, atol=1e-3)


def test_a_network_is_told_which_pixels_are_missing(models, images):
    """By the truth of a damage; in batches and in tiles, of whatever channels."""
    restorer, damage = models["restore"], "missing_pixels"
    mask = np.ones_like(images)
    mask[:, :, 14:] = 0
    told = restorer.restore(images * mask, damage, {"mask": mask})
    assert np.abs(told - restorer.restore(images * mask)).max() > 1e-3
    # What lies under the mask is not looked at.
    scratched = np.where(mask, images, 0.9).astype(np.float32)
    np.testing.assert_array_equal(restorer.restore(scratched, damage, {"mask": mask}), told)
    # A damage without holes leaves nothing to tell.
    np.testing.assert_array_equal(restorer.restore(images, "jpeg", {}), restorer.restore(images))
    one = restorer.restore(images[0] * mask[0], damage, {"mask": mask[0]})
    np.testing.assert_allclose(one, told[0], atol=1e-5)
    colour = np.concatenate([images[0], images[1], images[0]], axis=-1)
    made = restorer.restore(colour * mask[0], damage, {"mask": mask[0]})
    np.testing.assert_allclose(made[..., 1:2], told[1], atol=1e-5)
    large = np.pad(images[0], ((0, 20), (0, 9), (0, 0)))
    whole = np.ones_like(large)
    made = restorer.restore(large, damage, {"mask": whole})
    np.testing.assert_allclose(made, restorer.restore(large), atol=1e-5)


def test_a_network_takes_what_one_of_several_degradations_left(models, images):
    """It needs the mask alone; which one it was, nobody has to say."""
    model, one = models["restore"], images[0]
    mask = np.ones((28, 28, 1), np.float32)
    mask[5:9] = 0
    truth = {"choice": np.int32(1), "present": mask}
    made = model.restore(one * mask, "gaussian_noise:0.1|missing_box", truth)
    expected = model.restore(one * mask, "missing_pixels", {"mask": mask})
    np.testing.assert_array_equal(made, expected)


def test_a_grey_prior_sees_the_channels_of_a_colour_picture_one_by_one(models, images):
    colour = np.concatenate([images[0], images[1], images[0]], axis=-1)
    made, deviation = models["vae"].explain(colour, "gaussian_noise", **QUICK)
    grey, _ = models["vae"].explain(images[1], "gaussian_noise", **QUICK)
    assert made.shape == deviation.shape == (28, 28, 3)
    np.testing.assert_allclose(made[..., 1:2], grey, atol=1e-5)


def test_a_colour_prior_leaves_a_grey_picture_grey(models):
    picture = np.random.default_rng(0).uniform(size=(16, 16, 1)).astype(np.float32)
    made, deviation = models["shapes"].explain(picture, "gaussian_noise", **QUICK)
    assert made.shape == deviation.shape == (16, 16, 1)


def test_a_larger_picture_is_restored_in_tiles_with_its_own_mask(models):
    picture = np.random.default_rng(0).uniform(size=(40, 33, 1)).astype(np.float32)
    mask = np.ones_like(picture)
    mask[30:, 20:] = 0
    made, deviation = models["vae"].explain(
        picture * mask, "missing_pixels", {"mask": mask}, **QUICK
    )
    assert made.shape == deviation.shape == picture.shape
    assert np.abs(made - picture)[mask == 1].max() < 0.05
    assert deviation[mask == 0].mean() > 2 * deviation[mask == 1].mean()


@pytest.mark.parametrize("size", [(49, 60), (20, 30)])
@pytest.mark.parametrize("factor", [2, 4])
def test_tiles_begin_where_the_blocks_of_a_coarse_picture_do(models, size, factor):
    """What is restored has the blocks' means, whichever tile they lie in."""
    degradation = parse("--degradation", f"downsample:{factor}")
    picture = np.random.default_rng(0).uniform(0.3, 0.7, (*size, 1)).astype(np.float32)
    seen = np.asarray(degradation.forward(picture, {}))
    made, _ = models["vae"].explain(seen, degradation, **QUICK)
    assert made.shape == picture.shape
    assert np.abs(made - seen).max() > 0.05
    again = np.asarray(degradation.forward(made, {}))
    whole = tuple(np.s_[: side // factor * factor] for side in size)
    np.testing.assert_allclose(again[whole], seen[whole], atol=0.02)


def test_what_a_degradation_does_not_say_is_asked_for(models, images):
    vae = models["vae"]
    for degradation, part in {
        "missing_box": "--mask: is missing",
        "haze": "haze",
        "gaussian_noise:0.1..0.2": "sigma is drawn from 0.1 to 0.2",
        "gaussian_noise|jpeg": "one of several",
        "gausian_noise": "'gaussian_noise'",
    }.items():
        with pytest.raises(UserError, match=part.replace("|", r"\|")):
            vae.explain(images, degradation, **QUICK)
    with pytest.raises(UserError, match="'impute' fills in what is missing"):
        vae.explain(images, "gaussian_noise", method="impute")
    truth = {"mask": np.ones_like(images)}
    with pytest.raises(UserError, match="impute"):
        models["gan"].explain(images, "missing_pixels", truth, method="impute")


def test_a_model_refuses_what_it_is_not(models, images):
    for ask in (
        lambda: models["restore"].sample(1),
        lambda: models["restore"].translate(images, back=True),
        lambda: models["restore"].explain(images, "gaussian_noise"),
        lambda: models["restore"].latents(images),
        lambda: models["vae"].translate(images),
        lambda: models["gan"].reconstruct(images),
    ):
        with pytest.raises(UserError, match="needs a"):
            ask()


def test_reconstruction_is_the_image_of_the_latents(models, images):
    vae = models["vae"]
    np.testing.assert_allclose(
        vae.reconstruct(images), vae.generate(vae.latents(images)), atol=1e-5
    )


def test_a_direction_leads_from_before_to_after(models, images):
    vae, dark = models["vae"], images * np.float32(0.4)
    direction = vae.direction(images[:1], dark[:1])
    moved = vae.enhance(images[:1], direction, 1.0)
    np.testing.assert_allclose(moved, vae.reconstruct(dark[:1]), atol=1e-4)
    np.testing.assert_allclose(
        vae.enhance(images, direction, 0.0), vae.reconstruct(images), atol=1e-4
    )
    # An amount of 2 between pictures is twice one of 1.
    halves = vae.direction(images[:1], dark[:1], np.full(1, 2.0))
    np.testing.assert_allclose(vae.enhance(images[:1], halves, 2.0), moved, atol=1e-4)


def test_pieces_stay_themselves_far_inside_their_masks(models, images):
    masks = np.zeros_like(images)
    masks[0, :, :14], masks[1, :, 14:] = 1, 1
    found = models["vae"].compose(images, masks, **QUICK)
    np.testing.assert_allclose(found.image[:, :8], images[0, :, :8], atol=1e-5)
    np.testing.assert_allclose(found.image[:, 20:], images[1, :, 20:], atol=1e-5)
    np.testing.assert_allclose(found.pasted[:, :14], images[0, :, :14], atol=1e-5)
    assert np.isfinite([found.seam, found.pasted_seam]).all()


WRONG = {
    "images: values are 0 to 255; images lie in": lambda m, x: m["restore"].restore(x * 255),
    "images: values are nan to nan": lambda m, x: m["vae"].latents(x * np.nan),
    "images: hold int64; give float32": lambda m, x: m["vae"].latents(x.astype(np.int64)),
    "this model takes [N, 28, 28, 1]": lambda m, x: m["vae"].latents(x[:, :20]),
    "images: have shape (0, 28, 28, 1)": lambda m, x: m["restore"].restore(x[:0]),
    "or one picture [H, W, C] of any size": lambda m, x: m["vae"].explain(x[0, ..., 0], "jpeg:20"),
    "truth: has arrays {'msak': (2, 28, 28, 1)}; this degradation's are {'mask'": lambda m, x: m[
        "restore"
    ].restore(x, "missing_pixels", {"msak": x}),
    "truth: has arrays {'mask': (1, 28, 28, 1)}; this degradation's": lambda m, x: m["vae"].explain(
        x, "missing_pixels", {"mask": x[:1]}
    ),
    "truth: has arrays {'mask': (28, 28)}; this degradation's": lambda m, x: m["restore"].restore(
        x[0], "missing_pixels", {"mask": x[0, ..., 0]}
    ),
    "after: 1 images, but 2 before": lambda m, x: m["vae"].direction(x, x[:1]),
    "latents: have shape (2, 3); this model's are": lambda m, x: m["vae"].generate(np.ones((2, 3))),
    "num: 0 is not a whole number": lambda m, x: m["vae"].sample(0),
    "steps: 0 is not a whole number": lambda m, x: m["vae"].interpolate(1, 0),
    "labels: this model was trained without": lambda m, x: m["vae"].sample(2, labels=[1, 2]),
    "labels: 3 to 12; they are 0 to 9": lambda m, x: m["gan"].sample(2, labels=[3, 12]),
    "labels: int64 (1,); 2 whole numbers": lambda m, x: m["gan"].sample(2, labels=[3]),
    "labels: are missing; this model has 10": lambda m, x: m["gan"].latents(x, **QUICK),
    "masks: have shape (2, 28, 28); one for": lambda m, x: m["vae"].compose(x, x[..., 0]),
    "degradation: no such choice 'jepg'": lambda m, x: m["vae"].explain(x, "jepg:20"),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_no_image_no_label_and_no_truth_is_named(models, images, said):
    with pytest.raises(UserError) as caught:
        WRONG[said](models, images)
    assert said in str(caught.value)


def test_images_of_8_bits_are_those_of_floats(models, images):
    eight = np.round(images * 255).astype(np.uint8)
    found = models["restore"].restore(eight)
    np.testing.assert_array_equal(found, models["restore"].restore(eight.astype(np.float32) / 255))
