"""How far each latent stands for one factor of the images alone: MIG, SAP and DCI.

A score is a matrix [latent, factor] first; what the papers print are gaps and entropies of it.
Amounts are cut into 20 bins of equal width, as in disentanglement_lib (Locatello et al. 2019).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.special import entr

NUM_BINS = 20
#: A code with less variance follows nothing.
LEAST_VARIANCE = 1e-12
#: Of the support vector machine, as disentanglement_lib has it.
SVM_COST = 0.01
#: Leaves of fewer examples tell noise from noise, and give importance to codes that have none.
NUM_TREES, LEAF_SIZE = 20, 20

PerFactor = Float[np.ndarray, " factor"]
Matrix = Float[np.ndarray, "latent factor"]


class Encoded(NamedTuple):
    """Images as a model encodes them, and what they show.

    Attributes:
      codes: posterior means.
      factors: for each factor its value in each image: whole numbers are classes, floats amounts.
    """

    codes: Float[np.ndarray, "num latent"]
    factors: Mapping[str, Num[np.ndarray, " num"]]


def gaps(scores: Matrix) -> PerFactor:
    """By how much the best latent for each factor is better than the second best.

    Of `mutual_information` their mean is the MIG, of `separability` the SAP score.
    """
    second, first = np.sort(scores, axis=0)[-2:]
    return first - second


def mutual_information(encoded: Encoded) -> Matrix:
    """I(latent; factor) as a share of the factor's entropy, in [0, 1] (Chen et al. 2018, eq. 6).

    0 of a factor that has one value alone.
    """
    codes = [_classes(code, code) for code in encoded.codes.T]
    factors = [_classes(factor, factor) for factor in encoded.factors.values()]
    entropies = [_entropy(factor) or 1.0 for factor in factors]
    return np.array(
        [
            [_information(code, factor) / of for factor, of in zip(factors, entropies, strict=True)]
            for code in codes
        ]
    )


def separability(fit: Encoded, test: Encoded) -> Matrix:
    """How well a linear model reads each factor off each latent alone (Kumar et al. 2018, 3).

    Of an amount the squared correlation on `test`; of a class the share of `test` that a linear
    support vector machine, learned on `fit`, gets right.
    """
    columns = [
        _squared_correlations(test.codes, values)
        if np.issubdtype(values.dtype, np.floating)
        else _accuracies(fit.codes, fit.factors[name], test.codes, values)
        for name, values in test.factors.items()
    ]
    return np.stack(columns, axis=1)


def importances(fit: Encoded, test: Encoded) -> tuple[Matrix, PerFactor]:
    """(importance of each latent for each factor, informativeness) (Eastwood and Williams 2018).

    A random forest, one of the paper's two choices, learns each factor from all latents of `fit`;
    a latent is as important as the splits by it make the classes purer, relative to all. How
    informative the latents are of a factor is the share of `test` that it gets right.
    """
    from sklearn.ensemble import RandomForestClassifier  # takes a second to import

    columns, shares = [], []
    for name, values in fit.factors.items():
        # Of classes, too, where a factor is an amount: a turn that looks like another has several
        # likely values, and its mean is none of them.
        forest = RandomForestClassifier(
            NUM_TREES, min_samples_leaf=LEAF_SIZE, max_features=None, random_state=0
        ).fit(fit.codes, _classes(values, values))
        columns.append(forest.feature_importances_)
        shares.append(forest.score(test.codes, _classes(test.factors[name], values)))
    return np.stack(columns, axis=1), np.array(shares)


def disentanglement(importance: Matrix) -> float:
    """1 where each latent matters for one factor alone, 0 where for all alike; weighted by use."""
    return _weighted_certainty(importance)


def completeness(importance: Matrix) -> float:
    """1 where each factor has one latent that matters, 0 where all matter alike."""
    return _weighted_certainty(importance.T)


def _weighted_certainty(rows: Float[np.ndarray, "row column"]) -> float:
    """1 - entropy of each row, in units of the largest possible, weighted by the rows' sums."""
    if not rows.any():
        return 0.0
    totals = rows.sum(1, keepdims=True)
    shares = rows / np.where(totals, totals, 1)  # a row of zeros weighs nothing
    certainty = 1 - entr(shares).sum(1) / np.log(rows.shape[1])
    return float(certainty @ rows.sum(1) / rows.sum())


def _classes(
    values: Num[np.ndarray, " num"], seen: Num[np.ndarray, " seen"]
) -> Int[np.ndarray, " num"]:
    """Classes as they are; the bins of amounts, equally wide between the ends of `seen`."""
    if np.issubdtype(values.dtype, np.integer):
        return values
    return np.digitize(values, np.histogram_bin_edges(seen, NUM_BINS)[1:-1])


def _entropy(classes: Int[np.ndarray, " num"]) -> float:
    """In nats."""
    counts = np.unique(classes, return_counts=True)[1]
    return float(entr(counts / len(classes)).sum())


def _information(a: Int[np.ndarray, " num"], b: Int[np.ndarray, " num"]) -> float:
    """Mutual information in nats; never negative."""
    both = a.astype(np.int64) * (b.max() + 1) + b
    return max(_entropy(a) + _entropy(b) - _entropy(both), 0.0)


def _squared_correlations(
    codes: Float[np.ndarray, "num latent"], amounts: Float[np.ndarray, " num"]
) -> Float[np.ndarray, " latent"]:
    codes, amounts = codes - codes.mean(0), amounts - amounts.mean()
    variances = (codes**2).mean(0)
    covariances = amounts @ codes / len(codes)
    moves = variances > LEAST_VARIANCE
    powers = np.where(moves, variances, 1) * (amounts**2).mean()
    return np.where(moves, covariances**2 / powers, 0.0)


def _accuracies(
    fit_codes: Float[np.ndarray, "fit latent"],
    fit_classes: Int[np.ndarray, " fit"],
    codes: Float[np.ndarray, "num latent"],
    classes: Int[np.ndarray, " num"],
) -> Float[np.ndarray, " latent"]:
    """Of a classifier that sees one latent."""
    from sklearn.svm import LinearSVC  # takes a second to import

    machine = lambda: LinearSVC(C=SVM_COST, class_weight="balanced", random_state=0)
    return np.array(
        [
            machine().fit(seen[:, None], fit_classes).score(asked[:, None], classes)
            for seen, asked in zip(fit_codes.T, codes.T, strict=True)
        ]
    )
