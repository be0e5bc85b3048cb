"""Logits to start a search from, made from measured options."""

import dataclasses

import numpy as np

from embedcomp.compression.dynamic_program import Choice
from embedcomp.compression.rate_distortion import RateDistortionCurve
from embedcomp.types import Params

# How much likelier splits of the best division start than others, and how much
# less likely an option may start than the best one of its group.
_SPLIT_HEADSTART = 4.0
_LEAST_LOGIT = -8.0


@dataclasses.dataclass(frozen=True, eq=False)
class Prior:
  """Measured options as a distribution around the best division of a budget.

  An option of a group starts with the logit

    -(loss + price * bytes) / temperature,

  the price being that of the last byte of the budget and the temperature a
  share of all that the best division loses: what is to be learned beside it
  then counts alike, be the budget small or large.

  Attributes:
    curve: of the measured options.
    strength: of the prior, 1 / that share.
  """

  curve: RateDistortionCurve
  strength: float = 10.0

  def __post_init__(self) -> None:
    if not self.strength > 0:
      raise ValueError(
        f'the strength of a prior must be positive, got {self.strength}.'
      )

  def temperature(self, budget: int) -> float:
    """Returns the loss of each unit of a logit at a budget."""
    total = self._loss(self.curve.choices(budget))
    return max(total, 1e-30) / self.strength

  def logits(self, budget: int) -> Params:
    """Returns logits in the form of `Controller.init`, splits and options.

    Args:
      budget: bytes.

    Returns:
      `options` [G, O] float32 and `splits` [G - 1, B] float32.
    """
    space, best = self.curve.space, self.curve.choices(budget)
    num_groups = min(space.max_groups, space.num_bins)
    options = np.zeros((num_groups, len(space.options)), np.float32)
    splits = np.zeros((num_groups - 1, space.num_bins), np.float32)
    price, temperature = self._price(budget), self.temperature(budget)
    for group, choice in enumerate(best):
      segment = self.curve.segment(choice.start, choice.stop)
      losses = segment.losses + price * segment.num_bytes
      losses = np.where(segment.num_bytes < 0, np.inf, losses)
      scaled = (losses.min() - losses) / temperature
      options[group] = np.maximum(scaled, _LEAST_LOGIT)
    for split in range(num_groups - 1):
      # The last outcome is not to be used at all.
      last = space.num_bins if split >= len(best) - 1 else best[split].stop
      splits[split, last - 1] = _SPLIT_HEADSTART
    return {'options': options, 'splits': splits}

  def _loss(self, choices: list[Choice]) -> float:
    return sum(
      float(self.curve.segment(c.start, c.stop).losses[c.option])
      for c in choices
    )

  def _price(self, budget: int) -> float:
    """Returns the loss that a byte more or less makes at a budget."""
    smaller = max(budget * 4 // 5, self.curve.smallest_bytes)
    larger = budget * 5 // 4
    saved = self._loss(self.curve.choices(smaller))
    saved -= self._loss(self.curve.choices(larger))
    return max(saved / (larger - smaller), 0.0)
