"""Labels and texts of data, as a model has them."""

import numpy as np
import pytest

from embedcomp import evaluation
from embedcomp.data import Documents


def test_labels_go_by_their_names():
  labels = np.array([0, 1, 2, -1, 2])
  own = ['Neutral', 'good', 'BAD', 'other']
  found = evaluation.renumbered(labels, ['bad', 'good', 'neutral'], own)
  assert found.tolist() == [2, 1, 0, -1, 0]


def test_labels_that_a_model_has_no_names_for_stay():
  labels = np.array([1, 0, -1])
  found = evaluation.renumbered(labels, ['bad', 'good'], ['LABEL_0', 'LABEL_1'])
  assert found.tolist() == [1, 0, -1]


@pytest.mark.parametrize('own', [['bad', 'fair'], ['LABEL_0']])
def test_labels_of_another_model_are_refused(own):
  with pytest.raises(ValueError, match=r'got bad, good\.'):
    evaluation.renumbered(np.array([0, 1]), ['bad', 'good'], own)


def test_parts_are_joined_in_order():
  one = Documents(('a', 'b'), [0, 1], ('c', 'd'))
  two = Documents(('e',), [1], ('f',))
  found = evaluation.joined([one, two])
  assert found.texts == ('a', 'b', 'e')
  assert found.pairs == ('c', 'd', 'f')
  assert found.labels.tolist() == [0, 1, 1]
  bare = evaluation.joined([Documents(('a',)), Documents(('b',))])
  assert bare.labels is None
  assert bare.pairs is None
