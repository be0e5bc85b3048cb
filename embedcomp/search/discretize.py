"""Discretisation: schemes within a budget from what a search has learned."""

import numpy as np

from embedcomp.compression import refinement
from embedcomp.compression.space import SearchSpace
from embedcomp.table.scheme import Scheme


def decide(
  space: SearchSpace,
  losses: np.ndarray,
  budget: int,
  *,
  merge_bins: bool = True,
) -> Scheme:
  """Returns the scheme of least total loss within a budget.

  Dynamic programming is exact for losses of bins that add up; the bytes that
  whole bins leave over move split points, words of a bin losing alike.

  Args:
    space: of the search.
    losses: [B, O] float: what each option loses in each bin, such as negative
      log-probabilities or measured increments of a loss.
    budget: bytes.
    merge_bins: False gives every bin a group of its own.

  Returns:
    The scheme.

  Raises:
    ValueError: if losses are not finite numbers, or the budget is below the
      smallest scheme, whose size is named.
  """
  losses = np.asarray(losses, np.float64)
  shape = (space.num_bins, len(space.options))
  if losses.shape != shape or not np.isfinite(losses).all():
    raise ValueError(
      f'losses must be {shape} finite numbers, got shape {losses.shape}.'
    )
  segments = space.segments(losses)
  if not merge_bins:
    segments = [s for s in segments if s.stop - s.start == 1]
  choices = space.solve(segments, budget).best(budget)
  per_word = losses / space.bin_sizes[:, None]
  edges = np.array(space.bins)
  before = np.zeros((space.num_bins + 1, shape[1]))
  before[1:] = losses.cumsum(axis=0)

  def up_to(rank, option):
    """Loss of all words before a rank."""
    bin_ = min(
      int(np.searchsorted(edges, rank, side='right')) - 1, shape[0] - 1
    )
    inside = rank - edges[bin_]
    return before[bin_, option] + inside * per_word[bin_, option]

  return space.spend_slack(
    choices,
    budget,
    lambda start, stop, option: up_to(stop, option) - up_to(start, option),
  )


def decide_greedily(
  space: SearchSpace, log_probs: np.ndarray, budget: int
) -> Scheme:
  """Takes the likeliest options of bins, made cheaper until they fit.

  A baseline without dynamic programming, to be compared with `decide`.

  Args:
    space: of the search.
    log_probs: [B, O] float.
    budget: bytes.

  Returns:
    The scheme; neighbouring bins of the same option are one group.

  Raises:
    ValueError: if even the cheapest option everywhere does not fit.
  """
  log_probs = np.array(log_probs, np.float64)
  while True:
    choice = log_probs.argmax(axis=1)
    starts = [0, *(np.flatnonzero(np.diff(choice)) + 1).tolist()]
    division = refinement.Division(
      (*(space.bins[b] for b in starts), space.vocab_size),
      tuple(choice[starts].tolist()),
    )
    if space.num_bytes(division) <= budget:
      return space.scheme(division)
    # Take the option away whose runner-up is least behind, where it is dear.
    prices = space.bytes_per_word[choice] * space.bin_sizes
    ranked = np.sort(log_probs, axis=1)
    margins = ranked[:, -1] - ranked[:, -2]
    can_change = np.isfinite(ranked[:, -2])
    if not can_change.any():
      raise ValueError(f'no options are left that fit into {budget} bytes.')
    cost = np.where(can_change, margins / np.maximum(prices, 1e-9), np.inf)
    worst = int(cost.argmin())
    dearer = space.bytes_per_word >= space.bytes_per_word[choice[worst]]
    log_probs[worst, dearer & np.isfinite(log_probs[worst])] = -np.inf
