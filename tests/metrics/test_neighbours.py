import numpy as np
import prdc
import pytest
import scipy.spatial

from genjax.errors import UserError
from genjax.metrics import neighbours
from genjax.metrics.neighbours import nearest, precision_recall_density_coverage

NAMES = ("precision", "recall", "density", "coverage")


def features(seed, num, width=16, scale=1.0, shift=0.0):
    draws = np.random.default_rng(seed).normal(shift, scale, (num, width))
    return draws.astype(np.float32)


@pytest.fixture(params=[1024, 64], ids=["one tile", "many tiles"])
def _tiles(request, monkeypatch):
    monkeypatch.setattr(neighbours, "_TILE", request.param)


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize(
    ("num_real", "num_fake", "scale", "shift", "k"),
    [(300, 300, 1.0, 0.0, 5), (300, 210, 0.8, 0.2, 5), (97, 350, 1.2, 0.1, 1), (200, 190, 1, 0, 9)],
)
def test_are_those_of_prdc(num_real, num_fake, scale, shift, k):
    real, fake = features(0, num_real), features(1, num_fake, scale=scale, shift=shift)
    ours = precision_recall_density_coverage(real, fake, k)
    theirs = prdc.compute_prdc(real, fake, nearest_k=k)
    assert set(ours) == set(NAMES)
    for name in NAMES:
        assert ours[name] > 0
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, err_msg=name)


def test_by_hand():
    # Real spheres all have radius 1, those of the fakes 9.5, 1 and 1. The fake 0.5 lies in the
    # spheres of 0 and 1 and its own holds all reals; 10 and 11 lie nowhere.
    real, fake = np.arange(4.0)[:, None], np.array([[0.5], [10.0], [11.0]])
    scores = precision_recall_density_coverage(real, fake, k=1)
    expected = {"precision": 1 / 3, "recall": 1, "density": 2 / 3, "coverage": 1 / 2}
    assert scores == pytest.approx(expected)


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("width", [3, 300])
def test_a_set_lies_exactly_in_itself(width):
    """The k-th neighbour is on the sphere and not in it; itself and k - 1 others are."""
    real = features(2, 330, width)
    order = np.random.default_rng(0).permutation(330)
    for fake in (real, real[order]):
        scores = precision_recall_density_coverage(real, fake)
        assert scores == dict.fromkeys(NAMES, 1.0)


@pytest.mark.usefixtures("_tiles")
def test_a_collapsed_generator_has_no_recall():
    real = features(3, 150)
    scores = precision_recall_density_coverage(real, real[[7] * 140])
    assert scores["recall"] == 0
    assert scores["precision"] == 1
    around = (scipy.spatial.distance.cdist(real, real[7:8]) < radii(real, 5)[:, None]).sum()
    assert scores["coverage"] == pytest.approx(around / 150)
    assert scores["density"] == pytest.approx(around / 5)


def radii(real, k):
    return np.sort(scipy.spatial.distance.cdist(real, real), axis=1)[:, k]


def test_do_not_depend_on_the_origin():
    real, fake = features(4, 200, 64), features(5, 200, 64, scale=0.9)
    moved = precision_recall_density_coverage(real + 64, fake + 64)
    assert moved == pytest.approx(precision_recall_density_coverage(real, fake), abs=0.01)


@pytest.mark.usefixtures("_tiles")
def test_nearest_is_the_least_of_all_distances():
    queries, references = features(6, 130), features(7, 205)
    distances, indices = nearest(queries, references)
    everything = scipy.spatial.distance.cdist(queries.astype(float), references.astype(float))
    np.testing.assert_array_equal(indices, everything.argmin(axis=1))
    np.testing.assert_allclose(distances, everything.min(axis=1), rtol=1e-6)


@pytest.mark.usefixtures("_tiles")
def test_nearest_of_a_copy_is_at_distance_zero():
    references = features(8, 200, shift=100.0)
    distances, indices = nearest(references[::-3], references)
    np.testing.assert_array_equal(indices, np.arange(200)[::-3])
    np.testing.assert_array_equal(distances, 0.0)


@pytest.mark.usefixtures("_tiles")
def test_nearest_but_itself():
    references = features(9, 150)
    references[140] = references[3]
    distances, indices = nearest(references, references, exclude_self=True)
    everything = scipy.spatial.distance.cdist(references, references)
    np.fill_diagonal(everything, np.inf)
    np.testing.assert_array_equal(indices, everything.argmin(axis=1))
    np.testing.assert_allclose(distances, everything.min(axis=1), rtol=1e-5)
    assert (indices[3], indices[140], distances[3]) == (140, 3, 0.0)


def test_sets_that_can_not_be_compared_are_refused():
    real, bad = features(10, 20), features(11, 20)
    bad[4, 2] = np.nan
    with pytest.raises(UserError, match=r"fake has 5 rows .* at least 6"):
        precision_recall_density_coverage(real, real[:5])
    with pytest.raises(UserError, match=r"real has 3 rows .* at least 4"):
        precision_recall_density_coverage(real[:3], real, k=3)
    with pytest.raises(UserError, match=r"16 numbers .* real, 3 numbers .* fake"):
        precision_recall_density_coverage(real, real[:, :3])
    with pytest.raises(UserError, match="row 4 of fake"):
        precision_recall_density_coverage(real, bad)
    with pytest.raises(UserError, match=r"references has 1 rows .* at least 2"):
        nearest(real[:1], real[:1], exclude_self=True)
    with pytest.raises(UserError, match="row 4 of references"):
        nearest(real, bad)
