"""What a search has learned beyond its prior."""

import types

import numpy as np
import pytest

from embedcomp import methods, search
from embedcomp.compression.space import SearchSpace
from embedcomp.search.controller import Controller

OPTIONS = (methods.Drop('int8'), methods.Dense('int4'), methods.Dense('int8'))
SPACE = SearchSpace(8, (0, 10, 40), OPTIONS, max_groups=2)


def made(prior):
  """A search of which only its logits matter, an option for each bin."""
  return search.OptionSearch(
    config=search.SearchConfig(),
    loss_fn=None,
    start=None,
    controller=Controller(SPACE, learn_splits=False),
    supernet=None,
    prior=prior,
    weights_optimizer=None,
  )


def test_evidence_is_what_log_probabilities_gained_over_the_prior():
  # Probabilities by bin, before and after.
  first = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], np.float32)
  learned = np.array([[0.25, 0.25, 0.5], [0.2, 0.4, 0.4]], np.float32)
  state = types.SimpleNamespace(
    params={'architecture': {'options': np.log(learned)}},
    extra={'first_logits': {'options': np.log(first)}},
  )
  gains = np.log([[0.5, 1, 2], [1, 2, 2 / 3]])
  found = made(prior=object()).evidence(state)
  np.testing.assert_allclose(found, gains, atol=1e-6)
  # Without a prior, all of it was learned.
  alone = made(prior=None).evidence(state)
  np.testing.assert_allclose(alone, np.log(learned), rtol=1e-5)


def test_no_steps_are_taken_where_the_prior_decides_alone():
  alone = made(prior=object())
  assert alone.num_steps == 0
  state = types.SimpleNamespace(step=0)
  assert alone.refresh(state) is state
  with pytest.raises(ValueError, match='decide at once'):
    _ = alone.step
