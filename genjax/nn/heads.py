"""What stands on an encoder: a posterior, a discriminator's output, a classifier's output.

Every head takes an encoder module of any family (`mlp`, `dcgan`, `resnet`) as its `trunk`.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.nn.layers import KERNEL_INITS, leaky_relu, spectral
from genjax.types import Images, Labels, Latents, PerExample


class Posterior(nn.Module):
    """The diagonal Gaussian q(z | x): one dense layer for mean and log variance together.

    Attributes:
      trunk: the encoder.
      latent_size: number of latents.
      log_var_range: log variances are cut off at these two; empty leaves them as they are.
      kernel_init: of `KERNEL_INITS`.
    """

    trunk: nn.Module
    latent_size: int
    log_var_range: tuple[float, ...] = ()
    kernel_init: str = "lecun_normal"

    @nn.compact
    def __call__(
        self, images: Images, labels: Labels | None = None, *, train: bool
    ) -> tuple[Latents, Latents]:
        """Images in [0, 1] to (mean, log variance), each [batch, latent_size], float32."""
        features = self.trunk(images, labels, train=train)
        head = nn.Dense(2 * self.latent_size, kernel_init=KERNEL_INITS[self.kernel_init])
        both = head(features.astype(jnp.float32))
        mean, log_var = jnp.split(both, 2, axis=-1)
        return mean, jnp.clip(log_var, *self.log_var_range) if self.log_var_range else log_var


class Discriminator(nn.Module):
    """One logit an image, positive for real; and how the label comes in.

    `conditioning`: `none`; `concat` (done by the trunk); `projection`, the inner product of
    features and the label's embedding added to the logit (Miyato and Koyama 2018, eq. 3);
    `auxiliary`, class logits beside it (AC-GAN, Odena et al. 2017).
    """

    trunk: nn.Module
    conditioning: str = "none"
    num_classes: int = 0
    spectral_norm: bool = False

    @nn.compact
    def __call__(
        self, images: Images, labels: Labels | None = None, *, train: bool
    ) -> tuple[PerExample, Float[Array, "batch class"] | None]:
        """Images in [-1, 1] to (logits, class logits or None), float32."""
        features = self.trunk(images, labels, train=train).astype(jnp.float32)
        logits = spectral(nn.Dense(1), self.spectral_norm, features, train=train)[:, 0]
        if self.conditioning == "auxiliary":
            classes = nn.Dense(self.num_classes, name="classes")
            return logits, spectral(classes, self.spectral_norm, features, train=train)
        if self.conditioning == "projection":
            embed = nn.Embed(
                self.num_classes,
                features.shape[-1],
                embedding_init=nn.initializers.xavier_uniform(),
            )
            logits += jnp.sum(
                spectral(embed, self.spectral_norm, labels, train=train) * features, -1
            )
        return logits, None


class Classifier(nn.Module):
    """Class logits on a layer of features that also serves distances between sets of images."""

    trunk: nn.Module
    num_classes: int
    feature_size: int

    @nn.compact
    def __call__(
        self, images: Images, *, train: bool
    ) -> tuple[Float[Array, "batch class"], Float[Array, "batch feature"]]:
        """Images in [0, 1] to (class logits, features [batch, feature_size]), float32."""
        x = self.trunk(images, train=train).astype(jnp.float32)
        features = leaky_relu(nn.Dense(self.feature_size)(x))
        return nn.Dense(self.num_classes)(features), features
