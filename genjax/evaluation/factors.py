"""How far latents stand for the factors that drawings were made of."""

import dataclasses
import itertools
from typing import Any, ClassVar

import numpy as np

from genjax import rng
from genjax.data.shapes import Shapes
from genjax.errors import UserError
from genjax.evaluation.evaluators import float_batches
from genjax.evaluation.rows import Score
from genjax.imaging.latents import latents_of
from genjax.metrics import disentanglement as metrics
from genjax.metrics.disentanglement import Encoded
from genjax.models.base import LikelihoodModel
from genjax.types import PRNGKey, PyTree

#: As disentanglement_lib has it.
NUM_FIT = 10_000
#: What is a mean over factors; each factor's own is a score, too.
MEANS = ("mig", "sap", "dci_informativeness")


def encode(
    model: LikelihoodModel, params: PyTree, source: Shapes, num: int, batch_size: int = 500
) -> Encoded:
    """The first `num` drawings: posterior means, and the factors that can be told from them."""
    codes = []
    for batch in itertools.islice(float_batches(source, batch_size), -(-num // batch_size)):
        labels = batch["label"] if model.num_classes else None
        codes.append(latents_of(model, params, batch["image"], rng.key(0, "latents"), labels))
    drawn = [source.factors(index) for index in range(num)]
    factors = {name: np.array([each[name] for each in drawn]) for name in source.factor_names}
    return Encoded(np.concatenate(codes)[:num].astype(np.float64), factors)


@dataclasses.dataclass(frozen=True)
class DisentanglementEvaluator:
    """MIG, SAP and DCI of the posterior means on `source`.

    The linear models and forests of SAP and DCI learn from the first 10,000 training drawings.
    """

    draws: ClassVar[bool] = False

    source: Shapes
    train: Shapes
    batch_size: int

    def planned(self, model: Any) -> list[Score]:
        """The five scores, and those of each factor as `mig[hue]`."""
        del model
        of_factors = [f"{name}[{each}]" for name in MEANS for each in self.source.factor_names]
        names = [*MEANS, "dci_disentanglement", "dci_completeness", *of_factors]
        settings = f"{metrics.NUM_BINS} bins, {self._num_fit} drawings to learn from"
        return [Score(metric=name, n_real=len(self.source), settings=settings) for name in names]

    def __call__(self, model: LikelihoodModel, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """Draws nothing; `key` is not used.

        Raises:
          UserError: the model has a single latent, which has no second best.
        """
        if model.latent_size < 2:
            raise UserError("model.latent_size: 1; to compare latents, at least 2 are needed")
        del key
        fit = encode(model, params, self.train, self._num_fit, self.batch_size)
        test = encode(model, params, self.source, len(self.source), self.batch_size)
        importance, informativeness = metrics.importances(fit, test)
        by_factor = (
            metrics.gaps(metrics.mutual_information(test)),
            metrics.gaps(metrics.separability(fit, test)),
            informativeness,
        )
        values = {
            "dci_disentanglement": metrics.disentanglement(importance),
            "dci_completeness": metrics.completeness(importance),
        }
        for name, scores in zip(MEANS, by_factor, strict=True):
            values[name] = float(scores.mean())
            each = zip(self.source.factor_names, scores.tolist(), strict=True)
            values |= {f"{name}[{factor}]": score for factor, score in each}
        return values

    @property
    def _num_fit(self) -> int:
        return min(NUM_FIT, len(self.train))
