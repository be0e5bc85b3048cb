"""Names shared by every layer of the package.

Axis letters, used in einsums and docstrings throughout:

  B batch, T query token, S key token, N head, H head features,
  D model features, V vocabulary, G group, R rank, M codebook, K codeword,
  C chunk, L layer; W words of one group, P subvectors of one word.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray
PRNGKey = jax.Array
# A nested dict of arrays: what one method, or a whole scheme, needs to look
# words up.
Params = dict[str, Any]


class Shape(NamedTuple):
  """The table that a method stands in for: `[num_words, features]`."""

  num_words: int
  features: int
