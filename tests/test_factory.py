"""From config to objects: every field is read, none is made up."""

import copy
import functools
import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from test_configs import NAMES, load

from configs import common
from genjax import factory
from genjax.data.base import SPLITS
from genjax.errors import UserError
from genjax.fields import Section
from genjax.imaging.views import Thick, Thin
from genjax.models.base import LabelReader, Reconstructor, Sampler, Translator


@pytest.fixture
def fields_only(monkeypatch):
    """Building takes milliseconds: data is opened once, networks are not traced."""
    module = importlib.import_module("genjax.data.mnist_sample")
    monkeypatch.setattr(module, "mnist_sample", functools.lru_cache(module.mnist_sample))
    monkeypatch.setattr(factory.Experiment, "state_shape", None)


def leaves(section: dict, path: tuple[str, ...] = ()):
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def sections(config: dict) -> set[tuple[str, ...]]:
    return {path[:depth] for path in leaves(config) for depth in range(len(path))}


def at(config: dict, path: tuple[str, ...]) -> dict:
    return functools.reduce(lambda section, name: section[name], path, config)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_needed(name, fields_only):
    config = load(name).to_dict()
    for path in leaves(config):
        if path[0] == "likelihood" and path[-1] != "name":
            continue  # a likelihood has defaults, so that --config.likelihood.name can change it
        without = copy.deepcopy(config)
        del at(without, path[:-1])[path[-1]]
        with pytest.raises(UserError, match=f"{path[-1]}: is missing") as error:
            factory.build(without)
        assert all(part in str(error.value) for part in path), (path, error.value)


@pytest.mark.parametrize("name", NAMES)
def test_no_field_is_left_unread(name, fields_only):
    config = load(name).to_dict()
    for path in sections(config):
        more = copy.deepcopy(config)
        at(more, path)["bogus"] = 1
        with pytest.raises(UserError, match="bogus: no such field") as error:
            factory.build(more)
        assert all(part in str(error.value) for part in path), (path, error.value)


def test_a_mistyped_set_may_be_any_that_the_factory_knows():
    config = load("vae").to_dict()
    for name in factory.DATA_SETS.keys() - {"tfds"}:
        mistyped = common.data(f"{name}x").to_dict()
        with pytest.raises(UserError, match=rf"^data\.dataset: .*; did you mean '{name}'\?"):
            factory.build({**config, "data": mistyped})


def test_a_config_is_the_same_after_json(fields_only):
    """As a run folder keeps it: `widths` comes back as a list, which no Flax module may hold."""
    config = load("article_vae").to_dict()
    again = factory.build(json.loads(json.dumps(config)))
    assert again.model.encoder == factory.build(config).model.encoder
    assert isinstance(hash(again.model.encoder), int)


def build(name: str, argument: str = "mnist_sample,test", **changes):
    config = load(name, argument).to_dict()
    for path, value in changes.items():
        *sections, field = path.split("__")
        at(config, tuple(sections))[field] = value
    return factory.build(config)


def test_models_have_the_abilities_and_metrics_of_their_kind(fields_only):
    expected = {
        "article_vae": ({Sampler, Reconstructor}, {"ssim", "elbo", "frechet_distance"}),
        "article_gan": ({Sampler}, {"frechet_distance", "class_entropy"}),
        "article_cgan": ({Sampler}, {"frechet_distance", "label_accuracy"}),
        "classifier": ({LabelReader}, {"accuracy"}),
        "restore_l1": ({Translator}, {"psnr", "input_psnr"}),
        "thin_to_thick": ({Translator}, {"mae"}),
    }
    for name, (abilities, metrics) in expected.items():
        experiment = build(name)
        found = {
            ability
            for ability in (Sampler, Reconstructor, LabelReader, Translator)
            if isinstance(experiment.model, ability)
        }
        assert found == abilities
        assert metrics <= set(experiment.metrics())
    assert "label_accuracy" not in build("article_gan").metrics()


def test_without_samples_to_judge_there_is_no_judge(fields_only):
    assert build("article_vae").judge.model.num_classes == 10
    without = build("article_vae", evaluation__num_samples=0)
    assert without.judge is None
    assert "frechet_distance" not in without.metrics()
    assert (
        build("article_gan", evaluation__num_samples=0, checkpoint__best_metric="").metrics() == []
    )


def test_labels_reach_both_networks_or_none(fields_only):
    assert build("article_cgan").model.num_classes == 10
    assert build("article_gan").model.num_classes == 0


def test_durations_count_all_images_of_a_step(fields_only):
    """4,000 images, 16 a batch: an epoch is 250 steps, or 50 with five discriminator batches."""
    assert build("article_gan", training__duration="1 epoch").cadence.total_steps == 250
    five = build("article_gan", training__duration="1 epoch", model__d_steps=5)
    assert five.cadence.total_steps == 50
    assert five.images_per_step == 80


def test_cadence_rounds_up_to_calls_and_logs(fields_only):
    cadence = build(
        "article_gan",
        training__duration="7 steps",
        training__steps_per_call=4,
        training__log_every="5 steps",
        training__checkpoint_every="50 percent",
    ).cadence
    assert (cadence.total_steps, cadence.log_every, cadence.checkpoint_every) == (8, 8, 8)


def test_the_schedule_reaches_the_optimizer(fields_only):
    """Plain gradient descent under a cosine of 0.5 over 8 steps, 4 of them a rise from 0."""
    config = {
        "optimizer__name": "sgd",
        "optimizer__b1": 0.0,
        "optimizer__learning_rate": 0.5,
        "optimizer__schedule": "cosine",
        "optimizer__warmup": "4 steps",
    }
    optimizer = build("article_vae", **config).model.optimizer
    params, gradient = jnp.zeros(()), jnp.ones(())
    state, steps = optimizer.init(params), []
    for _ in range(8):
        update, state = optimizer.update(gradient, state, params)
        steps.append(-float(update))
    cosine = [0.25 * (1 + jnp.cos(jnp.pi * k / 4)) for k in range(4)]
    assert steps == pytest.approx([0, 0.125, 0.25, 0.375, *map(float, cosine)], abs=1e-6)


def test_the_kl_warms_up(fields_only):
    weight = build("article_vae", model__kl_warmup="4 steps", model__kl_weight=2.0).model.kl_weight
    assert [float(weight(step)) for step in (0, 2, 4, 8)] == pytest.approx([0, 1, 2, 2])


def test_a_vae_on_residual_networks_keeps_the_place_of_things():
    section = {
        "name": "resnet",
        "width": 4,
        "normalization": "none",
        "spectral_norm": False,
        "conditioning": "none",
    }
    shapes = build("article_vae", encoder=section).state_shape
    # Summed over the places, as a discriminator has it, 4 features would be left.
    num_features, outputs = shapes.params["encoder"]["Dense_0"]["kernel"].shape
    assert outputs == 2 * 20
    assert num_features >= 4 * 7 * 7


class Held:
    """Four images whose means are 0, 1 and, in the middle, 1/4; `num_read` were asked for."""

    image_shape, class_names, num_read = (1, 3, 1), (), 0
    rows = ((0, 255, 255), (0, 255, 0), (0, 255, 0), (0, 255, 0))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        self.num_read += 1
        return {"image": np.array(self.rows[index], np.uint8).reshape(self.image_shape)}


@pytest.mark.parametrize("name", ["iwae", "iwae_chain", "hvae"])
def test_a_decoder_starts_at_the_mean_training_image(name):
    held = Held()
    config = load(name)
    config.model.output_bias = "mean"
    experiment = factory.Experiment(Section(config.to_dict(), ""), held)
    _ = experiment.state_shape
    assert held.num_read == 0  # what restores a state reads no images
    batch = experiment.first_batch()
    # Several seeds at once, as a sweep has them.
    params = jax.jit(jax.vmap(lambda key: experiment.model.init(key, batch).params["decoder"]))(
        jax.random.split(jax.random.key(0), 2)
    )
    (bias,) = (leaf for leaf in jax.tree.leaves(params) if leaf.shape == (2, 3))
    # Each pixel's mean, by the logistic function; no pixel is quite sure.
    np.testing.assert_allclose(jax.nn.sigmoid(bias), [[0.001, 0.999, 0.25]] * 2, rtol=1e-5)


def test_where_a_mean_image_does_not_fit(fields_only):
    decoder = {**load("iwae").decoder.to_dict(), "name": "mpl"}
    refused("iwae", "decoder.name: no such choice 'mpl'; did you mean 'mlp'?", decoder=decoder)
    dcgan = {
        "name": "dcgan", "width": 4, "normalization": "none", "spectral_norm": False,
        "conditioning": "none",
    }  # fmt: skip
    message = "model.output_bias: 'mean' does not fit decoder 'dcgan'; choose 'zeros'"
    refused("article_vae", message, model__output_bias="mean", decoder=dcgan)
    message = "model.output_bias: 'mean' does not fit likelihood 'pixel_gaussian'"
    likelihood = {"name": "pixel_gaussian"}
    refused("article_vae", message, model__output_bias="mean", likelihood=likelihood)


def test_the_state_restores_onto_all_devices():
    shapes = build("article_vae").state_shape
    for leaf in jax.tree.leaves(shapes):
        assert leaf.sharding.device_set == set(jax.local_devices())


def test_a_discriminators_schedule_counts_its_own_updates(fields_only):
    """With five updates a step, a linear decay over 8 steps is half done after 20 updates."""
    config = {"training__duration": "8 steps", "model__d_steps": 5}
    for network in ("generator", "discriminator"):
        for field, value in {"name": "sgd", "learning_rate": 1.0, "schedule": "linear"}.items():
            config[f"optimizer__{network}__{field}"] = value
        config[f"optimizer__{network}__b1"] = 0.0
    model = build("article_gan", **config).model
    for optimizer, half in ((model.d_optimizer, 20), (model.g_optimizer, 4)):
        state = jax.tree.map(lambda leaf, half=half: leaf + half, optimizer.init(jnp.zeros(())))
        update, _ = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
        assert float(update) == pytest.approx(-0.5)


def refused(name, message, **changes):
    """Building `name` with these changes is an error that starts so."""
    with pytest.raises(UserError) as error:
        build(name, **changes)
    assert str(error.value).startswith(message), error.value
    assert "\n" not in str(error.value)


def test_pairs_are_views_by_name(fields_only):
    pairing = build("thin_to_thick", pairs__input="thin", pairs__target="thick").pairing
    assert (type(pairing.input), type(pairing.target)) == (Thin, Thick)
    assert build("article_vae").pairing is None
    refused("thin_to_thick", "pairs.input: ", pairs__input="thinn")
    refused("thin_to_thick", "pairs.target: ", pairs__target="gaussian_noise:much")


def test_a_model_without_pairs_has_no_section_for_them(fields_only):
    config = load("article_vae").to_dict() | {"pairs": {"input": "none", "target": "none"}}
    with pytest.raises(UserError, match=r"^pairs: no such field"):
        factory.build(config)


def test_a_network_is_told_of_holes_only_where_its_pictures_have_some(fields_only):
    """A channel that is always 1 kept one without a residual from learning anything."""
    for name, view, told in (
        ("restore_l1", "jpeg:20+missing_box:0.4", True),
        ("restore_l1", "jpeg:20|missing_box:0.4", True),
        ("restore_l1", "jpeg:20|gaussian_blur:1", False),
        ("edges_to_photo", "edges", False),
    ):
        experiment = build(name, pairs__input=view)
        assert experiment.model.told_holes == told
        state = jax.eval_shape(experiment.model.init, jax.random.key(0), experiment.example_batch())
        kernel = state.params["generator"]["Conv_0"]["kernel"]
        assert kernel.shape[2] == 1 + told


def test_without_pairs_halves_of_the_training_split_are_strangers(fields_only):
    """Of 4,000 digits, 2,000 conditions and as many images; scored are all, with the answers."""
    apart, together = build("thin_to_thick"), build("restore_l1")
    train, whole = apart.sources["train"], together.sources["train"]
    assert (len(train), len(whole)) == (2000, 4000)
    np.testing.assert_array_equal(train[0]["condition"], whole[0]["image"])
    np.testing.assert_array_equal(train[0]["image"], whole[2000]["image"])
    assert apart.sources["test"][0].keys() == whole[0].keys()
    assert apart.knows_answers


def test_binary_pixels_are_drawn_anew_in_training_and_once_for_scores(fields_only):
    """Each step sees an example as another draw of its greys, and the test split stays as it is."""
    experiment = build("binary_vae")
    grey = np.asarray(experiment.reader.store["image"][:16])
    assert ((grey > 0) & (grey < 255)).any()
    batch = {"image": jnp.asarray(grey / 255, jnp.float32), "position": jnp.arange(16)}
    drawn = [experiment.augment(batch, jax.random.key(step))["image"] for step in (0, 1)]
    sure = (grey == 0) | (grey == 255)
    for one in drawn:
        assert set(np.unique(one)) == {0.0, 1.0}
        np.testing.assert_array_equal(one[sure], grey[sure] / 255)
    assert (drawn[0] != drawn[1]).any()
    test = experiment.sources["test"]
    first = test[0]["image"]
    assert set(np.unique(first)) == {0, 255}
    np.testing.assert_array_equal(first, build("binary_vae").sources["test"][0]["image"])


def test_a_network_of_images_has_the_answers_channels_and_its_own_norms(fields_only):
    model = build("restore_gan", pairs__target="inverted_coloured").model
    assert model.generator.channels == 3
    both = build("thin_to_thick", pairs__target="inverted_coloured", model__identity_weight=0.0)
    assert (both.model.forward.channels, both.model.backward.channels) == (3, 1)
    message = "generator.normalization: "
    refused("restore_l1", message, generator__normalization="layer")
    refused("restore_l1", "generator.name: ", generator__name="unett")
    refused("restore_gan", "discriminator.name: ", discriminator__name="unet")
    refused("restore_l1", "generator.blocks: 0.5 is not a whole", generator__blocks=0.5)
    refused("restore_l1", "generator.width: (8, 8) is not a whole", generator__width=(8, 8))


def test_a_change_to_an_image_has_its_channels(fields_only):
    """A grey image has a place in a colour one; not the other way round."""
    changes = {"pairs__target": "inverted_coloured", "model__identity_weight": 0.0}
    message = "generator.residual: images of 1 channels can not be those of 3"
    build("restore_gan", pairs__target="inverted_coloured", generator__residual=True)
    refused("thin_to_thick", message, generator__residual=True, **changes)
    refused("restore_l1", message, generator__residual=True, pairs__input="colour")


def test_a_dense_layer_has_no_pixels_to_take_the_mean_of(fields_only):
    for part in ("generator", "discriminator"):
        changes = {f"{part}__normalization": "instance"}
        refused("article_gan", f"{part}.normalization: 'instance' is over pixels", **changes)


@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_levels_halve_whole_pixels(part, fields_only):
    """28 is 4 times 7."""
    build("restore_gan", **{f"{part}__levels": 2})
    refused("restore_gan", f"{part}.levels: 3 halvings of 28 pixels", **{f"{part}__levels": 3})


def test_identity_is_of_images_with_equal_channels(fields_only):
    changes = {"pairs__target": "inverted_coloured", "model__identity_weight": 2.5}
    message = "model.identity_weight: 2.5 compares images of 3 with conditions of 1 channels"
    refused("thin_to_thick", message, **changes)


def test_a_pool_holds_at_least_a_batch(fields_only):
    changes = {"training__batch_size": 32}
    message = "model.pool_size: 31 is less than training.batch_size; at least 32"
    refused("thin_to_thick", message, model__pool_size=31, **changes)
    build("thin_to_thick", model__pool_size=32, **changes)


def two_folders(tmp_path):
    """Thirty pictures of one name in each."""
    rows = np.arange(16, dtype=np.uint8)[:, None]
    for folder, names in (("in", "p{}.png"), ("out", "p{}.bmp")):
        (tmp_path / folder).mkdir()
        for number in range(30):
            levels = np.broadcast_to(8 * number + rows, (16, 16))
            Image.fromarray(levels).save(tmp_path / folder / names.format(number))
    return {
        "data__input_path": str(tmp_path / "in"),
        "data__target_path": str(tmp_path / "out"),
        "data__image_size": 16,
        "data__test_fraction": 0.3,
    }


def test_a_classifier_that_the_devices_can_not_share_is_named_before_it_is_trained():
    """There are eight of them; one is trained for the classification accuracy score, too."""
    changes = {"evaluation__classifier__training__batch_size": 60}
    experiment = build("article_cgan", **changes)
    with pytest.raises(
        UserError, match=r"^evaluation\.classifier: training\.batch_size: 8 devices"
    ):
        experiment.fit_judge(experiment.sources["train"])


def test_answers_of_a_set_in_halves_are_known_where_it_is_whole():
    """To train without pairs, the first half are conditions of the second."""
    unpaired = build("thin_to_thick")
    known = {split: unpaired.knows_answers(split) for split in SPLITS}
    assert known == {"train": False, "validation": True, "test": True}
    scored = [len(unpaired.evaluators(split, [])) for split in SPLITS]
    assert scored == [0, 1, 1]
    assert build("restore_l1").knows_answers("train")


def test_two_folders_need_a_model_of_pairs(tmp_path, fields_only):
    where = two_folders(tmp_path)
    with pytest.raises(UserError, match=r"^data\.name: 'folders' has pairs"):
        build("article_gan", "folders,test", **where)


def test_answers_of_two_folders_are_known_if_they_are_pairs(tmp_path, fields_only):
    where = two_folders(tmp_path)
    paired = build("restore_l1", "folders,test", **where)
    assert all(map(paired.knows_answers, SPLITS))
    assert "psnr" in paired.metrics()
    assert paired.sources["test"][0].keys() == {"image", "condition"}
    apart = {**where, "checkpoint__best_metric": ""}
    unpaired = build("thin_to_thick", "folders,test", **apart)
    assert not any(map(unpaired.knows_answers, SPLITS))
    assert unpaired.metrics() == []
    with pytest.raises(
        UserError, match=r"^checkpoint\.best_metric: 'mae' .*no answers.*; choose ''"
    ):
        build("thin_to_thick", "folders,test", **{**apart, "checkpoint__best_metric": "mae"})
