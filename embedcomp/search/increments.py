"""What each option costs in each bin, measured with a trained supernet.

One bin at a time takes another option than a reference, and the model's
outputs are compared with those of the reference by the Kullback-Leibler
divergence. Unlike a difference of losses it is never negative and needs no
labels, and so tells apart what a small sample of the loss cannot.
"""

from collections.abc import Callable

import jax
import numpy as np

from embedcomp.progress import track
from embedcomp.search.space import SearchSpace


def measure_increments(
  divergence_fn: Callable[[jax.Array], jax.Array],
  space: SearchSpace,
  *,
  progress: bool = True,
) -> np.ndarray:
  """Measures every option in every bin.

  Args:
    divergence_fn: takes a choice [B] int32 to the mean divergence of the
      outputs under it from those under `largest_choice`.
    space: of the search.
    progress: whether to show a progress bar.

  Returns:
    [B, O] float64 divergences; 0 for the largest option.
  """
  reference = largest_choice(space)
  increments = np.zeros((space.num_bins, len(space.options)))
  places = [
    (b, o) for b, o in np.ndindex(increments.shape) if o != reference[b]
  ]
  for place in track(places, 'measuring options', enabled=progress):
    choice = reference.copy()
    choice[place[0]] = place[1]
    increments[place] = float(divergence_fn(choice))
  return increments


def largest_choice(space: SearchSpace) -> np.ndarray:
  """[B] int32, the option that stores most for a word, in every bin."""
  return np.full(space.num_bins, space.bytes_per_word.argmax(), np.int32)
