"""How two sets of features lie among each other's nearest neighbours."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

from genjax.metrics.distribution import Features, OtherFeatures, check_features

#: Rows of two sets are compared in tiles of about this side: no n x n matrix is ever held.
_TILE = 1024
#: The k smallest of a row are sought in the k groups of this many whose least are smallest.
_GROUP = 16

#: Rows of a set, and the squared length of each: infinite for padding, so that nothing is near it.
Tile = tuple[Float[Array, "rows feature"], Float[Array, " rows"]]


def precision_recall_density_coverage(
    real: Features, fake: OtherFeatures, k: int = 5
) -> dict[str, float]:
    """How much of each set lies in the other's manifold: spheres that reach to k-th neighbours.

    `precision` is the share of fakes in some real's sphere, `recall` that of reals in some fake's
    (Kynkäänniemi et al. 2019); `density` is the mean number of real spheres around a fake, over k,
    and `coverage` the share of reals with a fake in their sphere (Naeem et al. 2020). All are in
    [0, 1] but density, which may exceed 1 where fakes crowd among reals. A point on a sphere is
    not in it, and nothing is a neighbour of itself, as in the authors' package `prdc`. Distances
    are in float32, so a point within 1e-6 or so of a sphere may fall on either side.

    Args:
      real: float [num_real, feature].
      fake: float [num_fake, feature].
      k: how many neighbours; at least 1.

    Returns:
      The four by name.

    Raises:
      UserError: if either set has fewer than k + 1 rows or holds what is not finite, or if the
        two have unlike features.
    """
    check_features("precision and recall", k + 1, real=real, fake=fake)
    size = _tile_size(max(len(real), len(fake)), k)
    real_tiles, fake_tiles = _tiles(size, real, fake)
    real_radii, fake_radii = _radii(real_tiles, k), _radii(fake_tiles, k)
    around = [jnp.zeros(size, int) for _ in fake_tiles]
    covered, recalled = ([jnp.zeros(size, bool) for _ in real_tiles] for _ in range(2))
    for i, x in enumerate(real_tiles):
        for j, y in enumerate(fake_tiles):
            around[j], covered[i], recalled[i] = _count(
                x, y, real_radii[i], fake_radii[j], around[j], covered[i], recalled[i]
            )
    around = np.concatenate(around)[: len(fake)]
    return {
        "precision": float((around > 0).mean()),
        "recall": float(np.concatenate(recalled)[: len(real)].mean()),
        "density": float(around.mean() / k),
        "coverage": float(np.concatenate(covered)[: len(real)].mean()),
    }


def nearest(
    queries: Features, references: OtherFeatures, exclude_self: bool = False
) -> tuple[Float32[np.ndarray, " batch"], Int32[np.ndarray, " batch"]]:
    """Euclidean distance to, and index of, the nearest reference of each query.

    Which one is nearest is decided in float32; the distance to it is computed from the difference,
    so that of a duplicate is 0.

    Args:
      queries: float [num_queries, feature].
      references: float [num_references, feature].
      exclude_self: the queries are the references, and none counts for itself.

    Raises:
      UserError: if there is no query or no reference to choose, the two have unlike features, or
        something is not finite.
    """
    check_features("nearest", 1 + exclude_self, references=references, queries=queries)
    size = _tile_size(max(len(queries), len(references)), 1)
    reference_tiles, query_tiles = _tiles(size, references, queries)
    winners = []
    for i, x in enumerate(query_tiles):
        least, index = jnp.full(size, jnp.inf), jnp.zeros(size, jnp.int32)
        for j, y in enumerate(reference_tiles):
            least, index = _nearest(x, y, least, index, j * size, exclude_self and i == j)
        winners.append(index)
    indices = np.concatenate(winners)[: len(queries)]
    differences = np.asarray(queries) - np.asarray(references)[indices]
    return np.linalg.norm(differences, axis=1).astype(np.float32), indices


def _tile_size(num_rows: int, k: int) -> int:
    """Rows of a tile such that little is padded and each row has k groups."""
    rows = num_rows / -(-num_rows // _TILE)
    return _GROUP * max(k, int(-(-rows // _GROUP)))


def _tiles(size: int, *sets: Array | np.ndarray) -> list[list[Tile]]:
    """The tiles of each set, around the mean of the first.

    Distances do not depend on the origin, but |x|^2 + |y|^2 - 2 x.y loses fewer digits near 0.
    """
    mean = np.mean(sets[0], axis=0, dtype=np.float64).astype(np.float32)
    return [
        [
            _tile(features[start : start + size], mean, size)
            for start in range(0, len(features), size)
        ]
        for features in sets
    ]


def _tile(rows: Features, mean: Float32[np.ndarray, " feature"], size: int) -> Tile:
    rows = np.asarray(rows, np.float32) - mean
    padding = size - len(rows)
    lengths = np.pad(np.square(rows).sum(axis=1), (0, padding), constant_values=np.inf)
    return jnp.asarray(np.pad(rows, ((0, padding), (0, 0)))), jnp.asarray(lengths)


def _radii(tiles: list[Tile], k: int) -> list[Float[Array, " rows"]]:
    """Squared distance of each row to its k-th known other row; each pair is computed once."""
    known = [jnp.full((len(rows), k), jnp.inf) for rows, _ in tiles]
    for i, x in enumerate(tiles):
        known[i] = _nearer_in_tile(x, known[i])
        for j in range(i + 1, len(tiles)):
            known[i], known[j] = _nearer(x, tiles[j], known[i], known[j])
    return [distances[:, -1] for distances in known]


def _squared_distances(x: Tile, y: Tile) -> Float[Array, "rows others"]:
    # All products have one shape, so a distance has the same bits whenever it is computed, and
    # strict comparisons of equal distances hold.
    products = jnp.matmul(x[0], y[0].T, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(x[1][:, None] + y[1] - 2 * products, 0)


def _without_diagonal(distances: Float[Array, "rows rows"]) -> Float[Array, "rows rows"]:
    return jnp.where(jnp.eye(len(distances), dtype=bool), jnp.inf, distances)


def _smallest(known: Float[Array, "rows k"], values: Float[Array, "rows others"]):
    """The k smallest, ascending, of each row of both.

    Those of `values` lie in the k groups of columns whose least are smallest: one pass of minima
    and two selections among few are much faster than a selection among all.
    """
    rows, k = known.shape
    groups = values.reshape(rows, _GROUP, -1)
    _, which = jax.lax.top_k(-groups.min(axis=1), k)
    chosen = jnp.take_along_axis(groups, which[:, None], axis=2).reshape(rows, -1)
    return -jax.lax.top_k(-jnp.concatenate([known, chosen], axis=1), k)[0]


@jax.jit
def _nearer_in_tile(x, known):
    return _smallest(known, _without_diagonal(_squared_distances(x, x)))


@jax.jit
def _nearer(x, y, known_of_x, known_of_y):
    distances = _squared_distances(x, y)
    return _smallest(known_of_x, distances), _smallest(known_of_y, distances.T)


@jax.jit
def _count(x, y, x_radii, y_radii, around, covered, recalled):
    distances = _squared_distances(x, y)
    in_real, in_fake = distances < x_radii[:, None], distances < y_radii
    return (
        around + in_real.sum(axis=0),
        covered | in_real.any(axis=1),
        recalled | in_fake.any(axis=1),
    )


@partial(jax.jit, static_argnums=5)
def _nearest(x, y, least, index, first, same):
    distances = _squared_distances(x, y)
    if same:
        distances = _without_diagonal(distances)
    here = distances.argmin(axis=1).astype(jnp.int32)
    distance = distances.min(axis=1)
    nearer = distance < least
    return jnp.where(nearer, distance, least), jnp.where(nearer, here + first, index)
