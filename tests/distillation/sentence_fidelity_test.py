"""Fidelity against values worked by hand and against plain loops."""

import itertools

import numpy as np
import pytest

import embedcomp
from embedcomp.distillation import fidelity_by_class, sentence_fidelity

DENSE = {'a': [2, 0], 'b': [0, 3], 'c': [1, 1]}
SMALL = {'a': [1, 0], 'b': [6, 8], 'c': [-2, -2]}


def reader(vectors):
  """A model that knows the vectors of some texts."""
  return lambda texts: np.array([vectors[text] for text in texts])


def plain(one, two):
  """Damage and similarity of one source, pair by pair."""
  one, two = (
    [np.array(v) / np.sqrt(sum(x * x for x in v)) for v in vectors]
    for vectors in (one, two)
  )
  damages = [1 - sum(a * b) for a, b in zip(one, two)]
  squares = [
    (sum(one[i] * one[j]) - sum(two[i] * two[j])) ** 2
    for i, j in itertools.combinations(range(len(one)), 2)
  ]
  return np.mean(damages), np.sqrt(np.mean(squares))


def test_values_worked_by_hand():
  """b turns by a cosine of .8, and its cosine with a goes from 0 to .6."""
  found = embedcomp.fidelity(reader(DENSE), reader(SMALL), ['a', 'b'])
  assert found.damage == pytest.approx((0 + 0.2) / 2)
  assert found.similarity_rms == pytest.approx(0.6)
  assert list(found.by_source) == ['texts']
  assert found.by_source['texts'].num_texts == 2


def test_sources_are_measured_apart_and_together():
  """Texts count alike for damage, sources do for similarity."""
  texts = {'one': ['a', 'b'], 'two': ['a', 'c', 'a']}
  found = embedcomp.fidelity(reader(DENSE), reader(SMALL), texts)
  one, two = found.by_source['one'], found.by_source['two']
  assert (one.num_texts, two.num_texts) == (2, 3)
  assert one.damage == pytest.approx(0.1)
  assert two.damage == pytest.approx(2 / 3)  # c is turned round
  assert two.similarity_rms == pytest.approx(np.sqrt(2 * 2 / 3))
  assert found.damage == pytest.approx((2 * 0.1 + 3 * 2 / 3) / 5)
  assert found.similarity_rms == pytest.approx(np.sqrt((0.36 + 4 / 3) / 2))


@pytest.mark.parametrize('block', [1, 3, 1024])
def test_all_pairs_are_compared_whatever_the_block(block, rng, monkeypatch):
  monkeypatch.setattr(sentence_fidelity, '_BLOCK', block)
  one, two = rng.normal(size=(2, 8, 5))
  texts = [str(number) for number in range(8)]
  found = embedcomp.fidelity(lambda _: one, lambda _: two, texts)
  expected = plain(one, two)
  np.testing.assert_allclose((found.damage, found.similarity_rms), expected)


def test_nothing_is_lost_where_nothing_changes_but_lengths(rng):
  vectors = rng.normal(size=(4, 6))
  lengths = np.array([1e-200, 1, 3, 1e200])[:, None]
  found = embedcomp.fidelity(
    lambda _: vectors, lambda _: vectors * lengths, [*'abcd']
  )
  assert 0 <= found.damage < 1e-30
  assert 0 <= found.similarity_rms < 1e-15


def test_small_damage_keeps_its_digits():
  angle = 1e-7
  turned = {'a': [np.cos(angle), np.sin(angle)], 'b': [0, 1]}
  found = embedcomp.fidelity(reader(DENSE), reader(turned), ['a', 'b'])
  assert found.damage == pytest.approx(angle**2 / 4, rel=1e-6)
  assert found.similarity_rms == pytest.approx(angle, rel=1e-6)


def test_turning_all_texts_alike_does_no_harm_to_similarities(rng):
  vectors = rng.normal(size=(5, 4))
  rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
  found = embedcomp.fidelity(
    lambda _: vectors, lambda _: vectors @ rotation, [*'abcde']
  )
  assert found.damage > 0.1
  assert found.similarity_rms < 1e-14


def test_models_read_all_sources_at_once_and_in_order():
  asked = []

  def model(texts):
    asked.append(list(texts))
    return np.ones((len(texts), 1))

  texts = {'x': ('a', 'b'), 'y': ('c', 'd')}
  embedcomp.fidelity(model, model, texts)
  assert asked == [[*'abcd']] * 2


@pytest.mark.parametrize(
  ('texts', 'reason'),
  [
    ('ab', "'texts' must be several texts, got one str"),
    ({'x': 'ab'}, "'x' must be several texts, got one str"),
    ({}, 'one source or more, got none'),
    ([], "'texts' must have at least 2 texts, .* got 0"),
    ({'x': ['a', 'b'], 'y': ['a']}, "'y' must have at least 2 texts, .* got 1"),
    (['a', 3], "texts of 'texts' must be str, got 3"),
  ],
)
def test_texts_that_do_not_do_are_refused(texts, reason):
  with pytest.raises(ValueError, match=reason):
    embedcomp.fidelity(reader(DENSE), reader(SMALL), texts)


@pytest.mark.parametrize(
  ('vectors', 'reason'),
  [
    (np.ones((3, 2)), r'compressed must give \[2, D\], .* got shape \(3, 2\)'),
    (np.ones(2), r'got shape \(2,\)'),
    (np.ones((2, 0)), r'got shape \(2, 0\)'),
    (np.ones((2, 3)), 'got 2 of model and 3 of compressed'),
    ([[1, 1], [np.nan, 1]], "number is nan for text 1, 'b'"),
    ([[np.inf, 1], [1, 1]], "number is inf for text 0, 'a'"),
    ([[1, 1], [0, 0]], r"not zero, .* number is 0\.0 for text 1, 'b'"),
  ],
)
def test_vectors_that_do_not_do_are_refused(vectors, reason):
  with pytest.raises(ValueError, match=reason):
    embedcomp.fidelity(reader(DENSE), lambda _: vectors, ['a', 'b'])


def bag_of_words(table):
  """Vectors of texts such as '0 3 1'."""
  return lambda texts: np.array(
    [table[[int(word) for word in text.split()]].sum(axis=0) for text in texts]
  )


def test_each_class_is_compressed_by_itself(rng):
  """Ranks by counts: words 2, 0 | 3 | 1."""
  dense = rng.normal(size=(4, 6))
  compressed = dense + 0.1 * rng.normal(size=(4, 6))
  counts, texts = [5, 0, 9, 1], ['0 1', '2 3 1', '3 0']
  found = fidelity_by_class(
    bag_of_words, (dense, compressed), counts, texts, splits=(2, 3)
  )
  for words, one in zip(([2, 0], [3], [1]), found, strict=True):
    table = dense.copy()
    table[words] = compressed[words]
    expected = plain(bag_of_words(dense)(texts), bag_of_words(table)(texts))
    np.testing.assert_allclose((one.damage, one.similarity_rms), expected)


def test_damage_of_classes_adds_up(rng):
  """Of errors that are small and independent."""
  dense = rng.normal(size=(60, 200))
  compressed = dense + 0.1 * rng.normal(size=(60, 200))
  texts = [' '.join(map(str, rng.integers(0, 60, 8))) for _ in range(50)]
  whole = embedcomp.fidelity(
    bag_of_words(dense), bag_of_words(compressed), texts
  )
  parts = fidelity_by_class(
    bag_of_words, (dense, compressed), np.arange(60), texts, splits=(20, 40)
  )
  assert sum(one.damage for one in parts) == pytest.approx(
    whole.damage, rel=0.05
  )


@pytest.mark.parametrize('splits', [(0,), (4,), (2, 2), (3, 1)])
def test_splits_must_rise_inside_of_the_words(splits):
  tables = np.eye(4), np.eye(4)
  with pytest.raises(ValueError, match='splits must rise, above 0 and below 4'):
    fidelity_by_class(bag_of_words, tables, np.ones(4), ['0', '1'], splits)


def test_tables_and_counts_must_go_together():
  with pytest.raises(ValueError, match=r'one shape, got \(4, 4\) and \(3, 3\)'):
    fidelity_by_class(bag_of_words, (np.eye(4), np.eye(3)), [1] * 4, ['0', '1'])
  with pytest.raises(ValueError, match='each of 4 words, got 3'):
    fidelity_by_class(bag_of_words, (np.eye(4), np.eye(4)), [1] * 3, ['0', '1'])
