"""What a search has learned beyond its prior."""

import types

import numpy as np
import pytest

from embedcomp import methods, search
from embedcomp.compression.space import SearchSpace
from embedcomp.search.controller import Controller

OPTIONS = (methods.Drop('int8'), methods.Dense('int4'), methods.Dense('int8'))
SPACE = SearchSpace(8, (0, 10, 40), OPTIONS, max_groups=2)
# Probabilities by bin, before and after.
FIRST = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], np.float32)
LEARNED = np.array([[0.25, 0.25, 0.5], [0.2, 0.4, 0.4]], np.float32)


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
  state = types.SimpleNamespace(
    params={'architecture': {'options': np.log(LEARNED)}},
    extra={'first_logits': {'options': np.log(FIRST)}},
  )
  gains = np.log([[0.5, 1, 2], [1, 2, 2 / 3]])
  found = made(prior=object()).evidence(state)
  np.testing.assert_allclose(found, gains, atol=1e-6)
  # Without a prior, all of it was learned.
  alone = made(prior=None).evidence(state)
  np.testing.assert_allclose(alone, np.log(LEARNED), rtol=1e-5)


@pytest.mark.parametrize(
  ('budget', 'share'), [(100, 1), (200, 0.5), (50, 0.5), (25, 0.25)]
)
def test_evidence_counts_less_for_other_budgets(budget, share):
  """In losses, it is what log-probabilities amount to, with the sign turned."""
  added = []

  def adjusted(losses):
    added.append(losses)
    return types.SimpleNamespace(scheme=lambda size: ('scheme', size))

  prior = types.SimpleNamespace(
    temperature=lambda size: size / 10,
    curve=types.SimpleNamespace(adjusted=adjusted),
  )
  state = types.SimpleNamespace(
    params={'architecture': {'options': np.log(LEARNED)}},
    extra={
      'first_logits': {'options': np.log(FIRST)},
      'budget': np.float32(100),
    },
  )
  assert made(prior).scheme(state, budget) == ('scheme', budget)
  expected = -np.log(LEARNED / FIRST) * share * budget / 10
  np.testing.assert_allclose(added[0], expected, rtol=1e-4, atol=1e-5)


def test_no_steps_are_taken_where_the_prior_decides_alone():
  alone = made(prior=object())
  assert alone.num_steps == 0
  state = types.SimpleNamespace(step=0)
  assert alone.refresh(state) is state
  with pytest.raises(ValueError, match='decide at once'):
    _ = alone.step
