"""Knobs of the search among options."""

import dataclasses
from collections.abc import Callable
from typing import Any

from embedcomp._internal.checks import take_plain_ints
from embedcomp.compression.post_training import SMALLEST_BIN
from embedcomp.methods import Method
from embedcomp.search import options as options_lib
from embedcomp.search.controller import Schedule
from embedcomp.search.searcher import Finetuning
from embedcomp.types import Shape

_KNOWN = {
  'start': ('dense', 'noise'),
  'order': ('sensitivity', 'frequency'),
  'options': tuple(options_lib.OPTION_SETS),
  'score': ('both', 'prior', 'learned'),
  'carry': ('dense', 'supernet'),
  'discretize': ('exact', 'argmax'),
}
_COUNTS = (
  *('measured_batches', 'num_bins', 'smallest_bin', 'max_groups'),
  'refresh_every',
)
_POSITIVE = ('prior', 'learning_rate', 'weights_learning_rate')


@dataclasses.dataclass(frozen=True)
class SearchConfig:
  """Plan of a search among options; see `OptionSearch`.

  Attributes:
    schedule: of the steps in which logits and supernet learn.
    finetuning: of the scheme that is decided for.
    seed: of all that is random.
    start: 'dense', from a trained table and what its gradients tell; 'noise',
      a supernet from nothing.
    order: of the words: 'sensitivity', by how much the model needs them, or
      'frequency'.
    measured_batches: at most, to find out what words are worth.
    log_likelihood_fn: draws labels to measure that by, see
      `sensitivity.LogLikelihoodFn`; the loss of the labels as they are if not
      given, which says little of a model that is sure of all its data.
    by_counts: in [0, 1], how much of what words are worth is as their counts
      say, on a scale of logarithms: for models trained on other texts.
    num_bins: between which splits may lie.
    smallest_bin: words of the first bin.
    max_groups: most groups of a scheme.
    learn_splits: False gives every bin an option of its own.
    options: name of a set of options, see `options.OPTION_SETS`.
    score: what decides: 'prior', options as measured on the dense table;
      'learned', what the logits learned; or 'both'.
    prior: its strength, the logit that all of the expected loss amounts to.
    carry: where the final weights start: 'supernet', or 'dense', the table
      that the search started from, fitted to the scheme.
    discretize: 'exact', or 'argmax', the likeliest option of each bin.
    learning_rate: of the logits.
    weights_learning_rate: the highest, of the supernet and the model.
    refresh_every: steps between two assignments of codes.

  Raises:
    ValueError: for values that are unknown or do not go together.
  """

  schedule: Schedule = dataclasses.field(default_factory=Schedule)
  finetuning: Finetuning = dataclasses.field(default_factory=Finetuning)
  seed: int = 0
  start: str = 'dense'
  order: str = 'sensitivity'
  measured_batches: int = 100
  log_likelihood_fn: Callable[..., Any] | None = None
  by_counts: float = 0.0
  num_bins: int = 12
  smallest_bin: int = SMALLEST_BIN
  max_groups: int = 6
  learn_splits: bool = True
  options: str = 'all'
  score: str = 'both'
  prior: float = 10.0
  carry: str = 'supernet'
  discretize: str = 'exact'
  learning_rate: float = 0.1
  weights_learning_rate: float = 1e-3
  refresh_every: int = 100

  def __post_init__(self) -> None:
    take_plain_ints(self)
    for field, values in _KNOWN.items():
      if getattr(self, field) not in values:
        raise ValueError(
          f'{field} must be one of {values}, got {getattr(self, field)!r}.'
        )
    for field in _COUNTS:
      value = getattr(self, field)
      if type(value) is not int or value < 1:
        raise ValueError(f'{field} must be an int from 1 on, got {value!r}.')
    for field in _POSITIVE:
      if not getattr(self, field) > 0:
        raise ValueError(
          f'{field} must be positive, got {getattr(self, field)!r}.'
        )
    if not 0 <= self.by_counts <= 1:
      raise ValueError(f'by_counts must be in [0, 1], got {self.by_counts!r}.')
    self._check_combinations()

  def _check_combinations(self) -> None:
    if self.discretize == 'argmax' and self.score != 'learned':
      raise ValueError("discretize='argmax' needs score='learned'.")
    if self.score == 'prior' and self.carry == 'supernet':
      raise ValueError("score='prior' trains no supernet: set carry='dense'.")
    if self.options == 'contextual' and self.score != 'prior':
      raise ValueError(
        "options='contextual' needs score='prior': a supernet has no codes of "
        'coefficients.'
      )
    needs_dense = (
      self.order == 'sensitivity'
      or self.score != 'learned'
      or self.carry == 'dense'
    )
    if self.start == 'noise' and needs_dense:
      raise ValueError(
        "start='noise' needs order='frequency', score='learned' and "
        "carry='supernet': the others are made from a dense model."
      )

  def options_for(self, vocab_size: int, features: int) -> tuple[Method, ...]:
    """Returns the options that suit a table: no more codewords than words."""
    smallest = min(self.smallest_bin, vocab_size)
    largest = max(smallest, vocab_size // 4)
    return tuple(
      option
      for option in options_lib.OPTION_SETS[self.options](features)
      if getattr(option, 'codewords', 1) <= largest
    )

  def smallest_bytes(self, vocab_size: int, features: int) -> int:
    """Returns the smallest size that a table can be given."""
    shape = Shape(vocab_size, features)
    found = self.options_for(vocab_size, features)
    return min(option.num_bytes(shape) for option in found)
