"""Documents are checked; dividing them is fair, exact and repeatable."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp.data import Documents, TextDataset, split_off


def make(labels) -> Documents:
  texts = [f'text {number}' for number in range(len(labels))]
  return Documents(texts, np.array(labels))


def test_documents():
  documents = Documents(['a', '', 'c'], [1, 0, -1])
  assert documents.texts == ('a', '', 'c')
  assert documents.labels.dtype == np.int32
  assert len(documents) == 3
  taken = documents.take([2, 0])
  assert taken.texts == ('c', 'a')
  assert taken.labels.tolist() == [-1, 1]
  assert Documents(('a',)).take([0]).labels is None
  with pytest.raises(ValueError, match='read-only'):
    documents.labels[0] = 2


def test_pairs_and_real_numbers():
  documents = Documents(['a', 'b', 'c'], [0.5, 2, -1], ['x', 'y', ''])
  assert documents.labels.dtype == np.float32
  assert documents.has_real_labels
  assert not make([0, 1]).has_real_labels
  assert not Documents(['a']).has_real_labels
  taken = documents.take([2, 0])
  assert taken.texts == ('c', 'a')
  assert taken.pairs == ('', 'x')
  assert taken.labels.tolist() == [-1, 0.5]
  splits = {'train': documents, 'test': taken}
  assert TextDataset('name', (), splits).has_real_labels


@pytest.mark.parametrize(
  ('texts', 'labels', 'message'),
  [
    ((), None, 'at least one'),
    ('text', None, "sequence of str, got 't'"),
    (('a', 3), None, 'sequence of str, got 3'),
    (('a', 'b'), [0], r'must be 2 integers.*got int64\[1\]'),
    (('a',), [True], r'must be 1 integers or real numbers.*got bool'),
    (('a',), [[0.5]], r'must be 1 integers.*got float64\[1, 1\]'),
    (('a', 'b'), [0.5, float('nan')], 'must be finite, number 1 is not'),
    (('a',), [1e300], 'must be finite'),
    (('a',), [-2], 'got -2 to -2'),
    (('a',), [2**31], 'got 2147483648'),
  ],
)
def test_wrong_documents(texts, labels, message):
  with pytest.raises(ValueError, match=message):
    Documents(texts, labels)


@pytest.mark.parametrize(
  ('pairs', 'message'),
  [
    (['a'], 'pairs must be 2 texts, one for each text, got 1'),
    (['a', 3], 'pairs must be a sequence of str, got 3'),
    ('ab', "pairs must be a sequence of str, got 'a'"),
  ],
)
def test_wrong_pairs(pairs, message):
  with pytest.raises(ValueError, match=message):
    Documents(('a', 'b'), None, pairs)


@pytest.mark.parametrize(
  ('names', 'splits', 'message'),
  [
    ('ab', {'train': make([0, 1])}, r"train and test, got \['train'\]"),
    ('aa', {'train': make([0, 1]), 'test': make([0])}, 'must differ'),
    ('ab', {'train': make([0, 0]), 'test': make([1])}, "all documents have 'a"),
    ('ab', {'train': make([0, -1]), 'test': make([1])}, 'document 1 has none'),
    ('ab', {'train': make([0, 1]), 'test': make([2])}, 'test must be below 2'),
    ('', {'train': make([0, 1]), 'test': make([0])}, 'train has labels, but'),
    (
      'ab',
      {'train': make([0, 1]), 'test': Documents(['a'])},
      'test lacks labels',
    ),
    (
      'ab',
      {'train': make([0, 1]), 'test': Documents([' ', ''], [0, 1])},
      'all texts of test are empty',
    ),
    (
      'ab',
      {'train': make([0.5, 1]), 'test': make([0.5])},
      'real numbers have no names',
    ),
    ('', {'train': make([0.5, 1]), 'test': make([1])}, 'train and test differ'),
    ('', {'train': make([0.5, 0.5]), 'test': make([1.0])}, 'have 0.5'),
    (
      '',
      {'train': Documents(['a'], None, ['b']), 'test': Documents(['a'])},
      'must be of pairs, or none, but train and test differ',
    ),
  ],
)
def test_wrong_datasets(names, splits, message):
  with pytest.raises(ValueError, match=message):
    TextDataset('name', names, splits)


def test_one_label_in_the_test_split_or_an_unseen_one_is_fine():
  splits = {'train': make([0, 1]), 'test': make([-1, -1])}
  assert TextDataset('name', ('a', 'b'), splits).splits['test'] is not None
  texts = Documents(['some text'])
  TextDataset('name', (), {'train': texts, 'test': texts})


def test_shares_by_hand():
  """Of 6, 3 and 1 documents, 40 % are 2.4, 1.2 and 0.4: 2, 1 and none, and a
  fourth one of the label that is most short of its share but not of one alone.
  """
  documents = make([0, 1, 0, 0, 2, 0, 1, 0, 1, 0])
  rest, part = split_off(documents, 0.4, seed=3)
  assert np.bincount(part.labels).tolist() == [3, 1]
  assert np.bincount(rest.labels).tolist() == [3, 2, 1]


@hypothesis.given(
  labels=st.lists(st.integers(-1, 4), min_size=2, max_size=60),
  share=st.floats(0.05, 0.95),
  seed=st.integers(0, 9),
)
def test_division_is_fair(labels, share, seed):
  documents = make(labels)
  sizes = np.unique(labels, return_counts=True)[1]
  if round(share * len(labels)) == 0 or (sizes == 1).all():
    with pytest.raises(ValueError, match='leaves one side empty'):
      split_off(documents, share, seed)
    return
  rest, part = split_off(documents, share, seed)
  assert sorted(rest.texts + part.texts) == sorted(documents.texts)
  label_of = dict(zip(documents.texts, labels))
  for side in (rest, part):
    numbers = [int(text.split()[1]) for text in side.texts]
    assert numbers == sorted(numbers)
    assert [label_of[text] for text in side.texts] == side.labels.tolist()
  assert set(rest.labels.tolist()) == set(labels)
  for label, size in zip(*np.unique(labels, return_counts=True)):
    assert abs((part.labels == label).sum() - share * size) <= 1
  assert len(part) <= round(share * len(labels))
  again = split_off(documents, share, seed)
  assert (again[0].texts, again[1].texts) == (rest.texts, part.texts)


def test_division_depends_on_the_seed_and_needs_no_labels():
  documents = Documents([str(number) for number in range(100)])
  rest, part = split_off(documents, 0.25, seed=0)
  assert (len(rest), len(part), part.labels) == (75, 25, None)
  assert split_off(documents, 0.25, seed=1)[1].texts != part.texts


def test_real_numbers_are_divided_like_one_label():
  numbers = np.arange(100.0)
  documents = Documents(
    [str(number) for number in numbers], numbers, [f'{n}!' for n in numbers]
  )
  rest, part = split_off(documents, 0.25, seed=0)
  assert (len(rest), len(part)) == (75, 25)
  for side in (rest, part):
    for text, label, pair in zip(side.texts, side.labels, side.pairs):
      assert float(text) == label
      assert pair == f'{text}!'


@pytest.mark.parametrize('share', [0, 1, -0.5, float('nan')])
def test_wrong_share(share):
  with pytest.raises(ValueError, match=r'share must be in \(0, 1\), got'):
    split_off(make([0, 1]), share, seed=0)


def test_too_few_documents():
  with pytest.raises(ValueError, match='leaves one side empty'):
    split_off(make([0, 1]), 0.5, seed=0)
