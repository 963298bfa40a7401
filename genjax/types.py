"""Names for what travels between the parts."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Float, Int, Key

#: NHWC float32 in [0, 1] everywhere between parts.
Images = Float[Array, "batch height width channel"]
#: One number for each example of a batch.
PerExample = Float[Array, " batch"]
Labels = Int[Array, " batch"]
Latents = Float[Array, "batch latent"]
#: Each example's place in the global batch; random draws that belong to an example are keyed by it.
Positions = Int[Array, " batch"]
PRNGKey = Key[Array, ""]
#: `image`, and where there is one `label`, `mask` (1 = real row), `index` (the example's number in
#: its split) and, inside the training step, `position`.
Batch = Mapping[str, Array]
PyTree = Any
