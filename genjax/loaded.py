"""A trained run, loaded: what its model does, as functions of arrays."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from genjax import compiling, factory, rng
from genjax.errors import UserError, choose
from genjax.evaluation.sampling import balanced_labels, draw, lerp, slerp
from genjax.factory import Experiment
from genjax.fields import COUNT, check_number
from genjax.imaging import prior
from genjax.imaging.degradations import Degradation, Missing, Truth, parse
from genjax.imaging.latents import Composed, compose, find_direction, latents_of, move
from genjax.imaging.tiles import tiled
from genjax.models.base import (
    Reconstructor,
    Restorer,
    Sampler,
    TrainState,
    Translator,
    TwoWayTranslator,
    has_normal_latents,
    require,
    sample_latents,
)
from genjax.run_folder import check_facts, read_config, read_facts
from genjax.training.checkpoint import Checkpoints
from genjax.types import PyTree

#: float32 in [0, 1]: a batch [N, H, W, C] of the model's size, or one picture [H, W, C] of any.
Pixels = Float[np.ndarray, "..."]
#: How far values may lie outside [0, 1], by rounding.
TOLERANCE = 1e-3
#: Ways to restore by a model as a prior.
METHODS = {"search": prior.restore, "impute": prior.impute}


def load(workdir: str | pathlib.Path, checkpoint: str = "last") -> "Loaded":
    """The model of a run folder, ready for use; where its training images are gone, too.

    Args:
      workdir: the run folder.
      checkpoint: `last` or `best`.

    Raises:
      UserError: it is no run folder, or holds no checkpoint.
    """
    workdir = pathlib.Path(workdir)
    experiment = factory.outline(read_config(workdir))
    if facts := read_facts(workdir):
        experiment = experiment.without_data(facts)
    with checkpoints_of(experiment, workdir) as checkpoints:
        step = choose("checkpoint", checkpoint, steps_of(checkpoints, workdir))
        state = checkpoints.restore(step, experiment.state_shape)
    return Loaded(experiment, inference_params(experiment, state), step)


def experiment_of(workdir: pathlib.Path) -> Experiment:
    """The experiment of a run folder, from its config.json, with its data set.

    Raises:
      UserError: that is not what the run was trained on.
    """
    experiment = factory.build(read_config(workdir))
    check_facts(workdir, experiment.facts)
    return experiment


def checkpoints_of(experiment: Experiment, workdir: pathlib.Path) -> Checkpoints:
    """The checkpoints of a run folder, to be read."""
    return Checkpoints(workdir, **experiment.config["checkpoint"], read_only=True)


def steps_of(checkpoints: Checkpoints, workdir: pathlib.Path) -> dict[str, int]:
    """The step of `last` and `best`; a UserError where there is none yet."""
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"--workdir: {workdir} has no checkpoint yet; run train first")
    return steps


def inference_params(experiment: Experiment, state: TrainState) -> PyTree:
    """What the model's abilities take as `params`, on one device of this process."""
    here = jax.tree.map(lambda leaf: leaf.addressable_data(0), state)
    return jax.device_put(experiment.model.inference_params(here), jax.local_devices()[0])


@compiling.jit(static_argnums=(0, 1))
def _call(model: Any, ability: str, params: PyTree, *arguments: Any) -> Any:
    return getattr(model, ability)(params, *arguments)


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A model with its parameters. All images are float32 in [0, 1].

    Attributes:
      experiment: what the run's config describes.
      params: of inference.
      step: of the checkpoint.
    """

    experiment: Experiment
    params: PyTree
    step: int

    @property
    def model(self) -> Any:
        """The model, for functions of `genjax.imaging` and `genjax.evaluation`."""
        return self.experiment.model

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that the model makes."""
        shape = self.experiment.facts.image_shape
        return self.experiment.pairing.shapes(shape)[1] if self.experiment.pairing else shape

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that it takes."""
        shape = self.experiment.facts.image_shape
        return self.experiment.pairing.shapes(shape)[0] if self.experiment.pairing else shape

    # --- generation ---

    def sample(
        self,
        num: int,
        *,
        seed: int = 0,
        labels: Int[np.ndarray, " num"] | None = None,
        truncation: float = 0.0,
    ) -> Float[np.ndarray, "num height width channel"]:
        """Samples 0 to num - 1; of a model with labels, every class in turn unless given."""
        require(self.model, Sampler, "sample")
        check_number("num", num, COUNT)
        labels = self._labels(labels, num)
        key = rng.key(seed, "sample")
        return np.concatenate(
            list(draw(self.model, self.params, key, num, labels, truncation=truncation))
        )

    def interpolate(
        self, num: int, steps: int, *, seed: int = 0, labels: Int[np.ndarray, " num"] | None = None
    ) -> Float[np.ndarray, "num steps height width channel"]:
        """Images on the way between two samples each, along the great circle (White 2016).

        On a straight line between two normal latents the middle would be shorter than any latent
        that the model knows. Under another prior there is no such circle, and the line is taken.
        """
        require(self.model, Sampler, "interpolate")
        check_number("num", num, COUNT)
        check_number("steps", steps, COUNT)
        labels = self._labels(labels, num)
        positions = jnp.arange(2 * num, dtype=jnp.int32)
        key = rng.key(seed, "interpolate")
        ends = np.asarray(sample_latents(self.model, self.params, key, positions))
        between = slerp if has_normal_latents(self.model) else lerp
        ways = between(ends[:num], ends[num:], steps).reshape(num * steps, -1)
        rows = None if labels is None else np.repeat(labels, steps)
        images = np.asarray(_call(self.model, "generate", self.params, ways, rows))
        return images.reshape(num, steps, *images.shape[1:])

    def reconstruct(
        self, images: Pixels, labels: Int[np.ndarray, " num"] | None = None
    ) -> Float[np.ndarray, "num height width channel"]:
        """What a VAE makes of a batch of images."""
        require(self.model, Reconstructor, "reconstruct")
        images = _pixels("images", images, self.image_shape, batch=True)
        labels = self._labels(labels, len(images), needed=True)
        return np.asarray(_call(self.model, "reconstruct", self.params, images, labels))

    # --- images to images ---

    def translate(self, images: Pixels, *, back: bool = False) -> Pixels:
        """The translation of a batch of the model's size, or of one picture of any size, in tiles.

        With `back`, the other way, for a model that knows it.
        """
        require(self.model, TwoWayTranslator if back else Translator, "translate")
        images = _pixels("images", images, self.image_shape if back else self.input_shape)
        ability = "translate_back" if back else "translate"
        apply = lambda tiles: np.asarray(_call(self.model, ability, self.params, tiles))
        if images.ndim == 4:
            return apply(images)
        (size, _, ours), (*_, theirs) = self.input_shape, self.image_shape
        ours, theirs = (theirs, ours) if back else (ours, theirs)
        return tiled(images, size, ours, apply, channels_out=theirs)

    def restore(
        self,
        images: Pixels,
        degradation: str | Degradation = "none",
        truth: Truth | None = None,
        *,
        method: str = "search",
        restarts: int = 8,
        steps: int = 100,
        seed: int = 0,
    ) -> Pixels:
        """The images before they were damaged: a batch of the model's size, or one picture of any.

        A model trained to restore has to be told no more than which pixels are missing, if any are,
        which `degradation` and `truth` say. A VAE or GAN, as a prior, has to be told both; see
        `explain`, which also says how sure it is.
        """
        if isinstance(self.model, Restorer):
            if truth is None or not self.model.told_holes:
                return self.translate(images)
            return self._filled(_pixels("images", images, self.input_shape), degradation, truth)
        return self.explain(
            images, degradation, truth, method=method, restarts=restarts, steps=steps, seed=seed
        )[0]

    def _filled(self, images: Pixels, degradation: str | Degradation, truth: Truth) -> Pixels:
        if isinstance(degradation, str):
            degradation = parse("degradation", degradation)
        _check_truth(degradation, truth, images, "present")
        if isinstance(degradation, Missing):  # in training holes are black, whatever is there now
            images = np.asarray(degradation.forward(images, truth))
        if images.ndim == 4:
            present = jax.vmap(degradation.present)(images, truth)
            return np.asarray(_call(self.model, "restore", self.params, images, present))
        present = np.asarray(degradation.present(images, truth))
        size, _, channels = self.input_shape
        split = lambda tiles: (tiles[..., :channels], tiles[..., channels:])
        apply = lambda tiles: np.asarray(_call(self.model, "restore", self.params, *split(tiles)))

        def run(part: Pixels) -> tuple[Pixels]:
            planes = np.concatenate([part, present], axis=-1)
            out = self.image_shape[-1]
            return (tiled(planes, size, channels + 1, apply, channels_out=out),)

        return _by_channel(images, self.input_shape, run)[0]

    def explain(
        self,
        images: Pixels,
        degradation: str | Degradation = "none",
        truth: Truth | None = None,
        *,
        method: str = "search",
        restarts: int = 8,
        steps: int = 100,
        seed: int = 0,
    ) -> tuple[Pixels, Pixels]:
        """(expected images, standard deviations) given damaged ones, by the model as a prior.

        Args:
          images: a batch [N, H, W, C] of the model's size, or one picture [H, W, C] of any size.
          degradation: what happened to them, in words or as an object.
          truth: what `degradation` returned besides the damaged images; for one picture, without
            the leading axis. None: as far as the degradation itself says it.
          method: `search` or, for missing pixels and VAEs, `impute`.
          restarts: of the search.
          steps: of the search.
          seed: of the search.

        Raises:
          UserError: the model is no prior, or the degradation does not say all that is needed.
        """
        require(self.model, Sampler, "explain")
        images = _pixels("images", images, self.image_shape)
        if isinstance(degradation, str):
            degradation = parse("degradation", degradation)
        check_method("method", method, self.model, degradation)
        ask = functools.partial(
            METHODS[method],
            self.model,
            self.params,
            degradation,
            key=rng.key(seed, "restore"),
            restarts=restarts,
            steps=steps,
        )
        if truth is None:
            shape = images.shape[-3:]
            truth = degradation.known(shape)
            if images.ndim == 4:
                truth = jax.tree.map(lambda leaf: np.stack([leaf] * len(images)), truth)
        _check_truth(degradation, truth, images)
        if images.ndim == 4:
            found = ask(images, truth, positions=np.arange(len(images), dtype=np.int32))
            return np.asarray(found.mean), np.asarray(found.deviation)
        block = degradation.block
        return _by_channel(
            images, self.image_shape, lambda part: _tiled(ask, part, truth, self, block)
        )

    # --- latents ---

    def latents(
        self,
        images: Pixels,
        labels: Int[np.ndarray, " num"] | None = None,
        *,
        restarts: int = 8,
        steps: int = 100,
        seed: int = 0,
    ) -> Float[np.ndarray, "num latent"]:
        """Latents whose images are nearest to a batch; see `genjax.imaging.latents.latents_of`."""
        require(self.model, Sampler, "latents")
        images = _pixels("images", images, self.image_shape, batch=True)
        labels = self._labels(labels, len(images), needed=True)
        key, search = rng.key(seed, "latents"), {"restarts": restarts, "steps": steps}
        return np.asarray(latents_of(self.model, self.params, images, key, labels, **search))

    def generate(
        self,
        latents: Float[np.ndarray, "num latent"],
        labels: Int[np.ndarray, " num"] | None = None,
    ) -> Float[np.ndarray, "num height width channel"]:
        """The images of latents."""
        require(self.model, Sampler, "generate")
        latents, size = jnp.asarray(latents), self.model.latent_size
        if latents.ndim != 2 or latents.shape[1] != size:
            raise UserError(f"latents: have shape {latents.shape}; this model's are [num, {size}]")
        labels = self._labels(labels, len(latents), needed=True)
        return np.asarray(_call(self.model, "generate", self.params, latents, labels))

    def direction(
        self,
        before: Pixels,
        after: Pixels,
        amounts: Float[np.ndarray, " num"] | None = None,
        labels: Int[np.ndarray, " num"] | None = None,
    ) -> Float[np.ndarray, "n n"]:
        """What leads from `before` to `after`, two batches of the same scenes; for `enhance`."""
        if len(before) != len(after):
            raise UserError(f"after: {len(after)} images, but {len(before)} before; they are pairs")
        amounts = np.ones(len(before)) if amounts is None else amounts
        ends = self.latents(before, labels), self.latents(after, labels)
        return find_direction(*ends, amounts)

    def enhance(
        self,
        images: Pixels,
        direction: Float[np.ndarray, "n n"],
        amount: float,
        labels: Int[np.ndarray, " num"] | None = None,
    ) -> Float[np.ndarray, "num height width channel"]:
        """A batch of images moved along a direction by an amount."""
        moved = move(self.latents(images, labels), direction, amount)
        return self.generate(moved, labels)

    def compose(
        self,
        pieces: Pixels,
        masks: Float[np.ndarray, "piece height width 1"],
        *,
        restarts: int = 8,
        steps: int = 100,
        seed: int = 0,
    ) -> Composed:
        """One image of several pieces, each where its mask is 1, without a seam."""
        require(self.model, Sampler, "compose")
        pieces = _pixels("pieces", pieces, self.image_shape, batch=True)
        shape = (len(pieces), *self.image_shape[:2], 1)
        if np.shape(masks) != shape:
            raise UserError(f"masks: have shape {np.shape(masks)}; one for each piece is {shape}")
        return compose(
            self.model,
            self.params,
            pieces,
            masks,
            rng.key(seed, "compose"),
            restarts=restarts,
            steps=steps,
        )

    def _labels(
        self, labels: Int[np.ndarray, " num"] | None, num: int, needed: bool = False
    ) -> Int[np.ndarray, " num"] | None:
        """`labels` as the model takes them; without any every class in turn, unless `needed`."""
        count = self.model.num_classes
        if labels is None:
            if needed and count:
                raise UserError(f"labels: are missing; this model has {count} classes")
            return balanced_labels(num, count)
        if not count:
            raise UserError("labels: this model was trained without any")
        labels = np.asarray(labels)
        if labels.shape != (num,) or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(f"labels: {labels.dtype} {labels.shape}; {num} whole numbers expected")
        if labels.min() < 0 or labels.max() >= count:
            raise UserError(f"labels: {labels.min()} to {labels.max()}; they are 0 to {count - 1}")
        return labels.astype(np.int32)


def _pixels(
    where: str, images: Any, shape: tuple[int, int, int], batch: bool = False
) -> Float[np.ndarray, "..."]:
    """`images` as float32; those of 8 bits are brought to [0, 1].

    Raises:
      UserError: naming the argument `where`: they are no batch of this shape nor, unless it has to
        be a `batch`, a picture of any size, or their values are no images'.
    """
    images = np.asarray(images)
    is_batch = images.ndim == 4 and images.shape[1:] == shape
    is_picture = images.ndim == 3 and images.shape[-1] in (1, 3, shape[-1]) and not batch
    if not (is_batch or is_picture) or not images.size:
        own = ", ".join(map(str, shape))
        or_one = "" if batch else ", or one picture [H, W, C] of any size"
        raise UserError(f"{where}: have shape {images.shape}; this model takes [N, {own}]{or_one}")
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"{where}: hold {images.dtype}; give float32 in [0, 1], or uint8")
    low, high = images.min(), images.max()
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # NaN is neither
        raise UserError(f"{where}: values are {low:g} to {high:g}; images lie in [0, 1]")
    return images.astype(np.float32)


def _check_truth(
    degradation: Degradation, truth: Truth, images: Pixels, use: str = "forward"
) -> None:
    """Raises a UserError if the truth is not of the form that the degradation's `use` takes."""
    lead, shape = images.shape[:-3], images.shape[-3:]
    leaves, structure = jax.tree.flatten(truth)
    given = [np.shape(leaf) for leaf in leaves]
    own = tuple(each[len(lead) :] for each in given)
    fits = all(each[: len(lead)] == lead for each in given)
    if fits and _takes(degradation, use, shape, structure, own):
        return
    image = jax.ShapeDtypeStruct(shape, np.float32)
    _, wanted = jax.eval_shape(degradation, image, jax.random.key(0))
    wanted = jax.tree.map(lambda leaf: (*lead, *leaf.shape), wanted)
    raise UserError(
        f"truth: has arrays {structure.unflatten(given)}; this degradation's are {wanted}"
    )


@functools.lru_cache(maxsize=64)  # to trace takes as long as a small network
def _takes(
    degradation: Degradation,
    use: str,
    shape: tuple[int, ...],
    structure: jax.tree_util.PyTreeDef,
    shapes: tuple[tuple[int, ...], ...],
) -> bool:
    """Whether a truth of this form goes with an image; what has no use may be missing of it."""
    image, *leaves = (jax.ShapeDtypeStruct(each, np.float32) for each in (shape, *shapes))
    try:
        made = jax.eval_shape(getattr(degradation, use), image, structure.unflatten(leaves))
    except (KeyError, TypeError, ValueError):
        return False
    return made.shape == (shape if use == "forward" else (*shape[:2], 1))


def check_method(where: str, method: str, model: Any, degradation: Degradation) -> None:
    """Raises a UserError naming `where` if `method` can not undo it by this model as a prior."""
    choose(where, method, METHODS)
    if method == "impute":
        prior.check_imputable(where, model, degradation)
    else:
        prior.check_searchable(f"{where}: 'search'", model)


def _by_channel(
    pixels: Pixels, shape: tuple[int, int, int], run: Callable[[Pixels], tuple[Pixels, ...]]
) -> tuple[Pixels, ...]:
    """`run` on a picture of as many channels as the model has; grey models see one at a time."""
    channels, own = shape[-1], pixels.shape[-1]
    if channels == own:
        return run(pixels)
    if channels == 1:
        parts = [run(pixels[..., c : c + 1]) for c in range(own)]
        return tuple(np.concatenate(each, axis=-1) for each in zip(*parts, strict=True))
    made = run(np.repeat(pixels, channels, axis=-1))
    return tuple(each.mean(axis=-1, keepdims=True) for each in made)


def _tiled(ask, pixels: Pixels, truth: Truth, loaded: Loaded, block: int) -> tuple[Pixels, Pixels]:
    """Mean and deviation of one picture, tile by tile; maps of the truth are cut as it is.

    Where blocks of `block` x `block` pixels are alike, each tile begins with a whole one.
    """
    leaves, structure = jax.tree.flatten(truth)
    leaves = [np.asarray(leaf, np.float32) for leaf in leaves]
    is_map = [leaf.shape == (*pixels.shape[:2], 1) for leaf in leaves]
    maps = list(itertools.compress(leaves, is_map))
    size, _, channels = loaded.image_shape

    def apply(tiles: Pixels) -> Pixels:
        cut = iter(np.split(tiles[..., channels:], len(maps) or 1, axis=-1))
        own = [
            next(cut) if mapped else np.stack([leaf] * len(tiles))
            for leaf, mapped in zip(leaves, is_map, strict=True)
        ]
        positions = np.arange(len(tiles), dtype=np.int32)
        found = ask(tiles[..., :channels], structure.unflatten(own), positions=positions)
        return np.concatenate([found.mean, found.deviation], axis=-1)

    packed = np.concatenate([pixels, *maps], axis=-1).astype(np.float32)
    packed = _extended(_extended(packed, 0, size, block), 1, size, block)
    overlap = size // 4 + (size - size // 4) % block
    overlap -= block if 2 * overlap > size else 0
    made = tiled(packed, size, packed.shape[-1], apply, overlap, channels_out=2 * channels)
    made = made[: pixels.shape[0], : pixels.shape[1]]
    return made[..., :channels], made[..., channels:]


def _extended(planes: Pixels, axis: int, size: int, block: int) -> Pixels:
    """The planes, longer by what is lacking to a last block, and to a last tile between blocks."""
    if block == 1:
        return planes
    length = planes.shape[axis]
    whole = length + -length % block
    end = max(whole, size) + (size - max(whole, size)) % block
    for mode, more in (("edge", whole - length), ("symmetric", end - whole)):
        planes = np.pad(planes, [(0, more if each == axis else 0) for each in range(3)], mode)
    return planes
