"""Needles are found by reading, and not by counting words."""

import collections

import numpy as np
import pytest
from scipy import stats

from embedcomp.data import needle_documents
from embedcomp.data.datasets import needle


def find(text):
  """The value behind the key, and where the key is."""
  words = text.split()
  place = words.index(needle.KEY)
  return words[place + 1], place


def word_counts(texts):
  """[N, V] how often each word occurs in each text."""
  names = [needle.KEY, *needle.LABELS, *map(str, range(500))]
  number = {name: n for n, name in enumerate(names)}
  counts = np.zeros((len(texts), len(names)))
  for row, text in zip(counts, texts):
    for word in text.split():
      row[number[word]] += 1
  return counts


def ridge_accuracy(texts, labels):
  """Of a linear classifier of word counts, trained on three quarters."""
  counts = np.log1p(word_counts(texts))
  split = 3 * len(texts) // 4
  centred = counts - counts[:split].mean(0)
  targets = np.eye(10)[labels]
  train = centred[:split]
  weights = np.linalg.solve(
    train.T @ train + 0.1 * np.eye(len(train.T)), train.T @ targets[:split]
  )
  guesses = (centred[split:] @ weights + targets[:split].mean(0)).argmax(1)
  return (guesses == labels[split:]).mean()


@pytest.fixture(scope='module')
def documents():
  return needle_documents(1200, (40, 120), seed=1)


def test_the_label_is_the_value_behind_the_key(documents):
  lengths = []
  for text, label in zip(documents.texts, documents.labels):
    assert find(text)[0] == needle.LABELS[label]
    lengths.append(len(text.split()))
  assert (min(lengths), max(lengths)) == (40, 120)


def test_which_words_there_are_does_not_depend_on_the_label(documents):
  counts = word_counts(documents.texts)
  assert (counts[:, :11] == 1).all(), 'the key and all values, once each'
  assert ridge_accuracy(documents.texts, documents.labels) < 0.17
  # The same classifier sees what is there to see: values that are not once.
  needles = []
  for text in documents.texts:
    value, _ = find(text)
    words = text.split()
    needles.append(' '.join(w for w in words if w.isdigit() or w == value))
  assert ridge_accuracy(needles, documents.labels) > 0.9


def test_labels_are_alike_in_number(documents):
  counts = np.bincount(documents.labels, minlength=10)
  assert stats.chisquare(counts).pvalue > 0.01


def test_needles_and_other_values_are_anywhere(documents):
  places, others = [], []
  for text in documents.texts:
    words = text.split()
    value, place = find(text)
    places.append(place / (len(words) - 2))
    rest = [n for n, w in enumerate(words) if w in needle.LABELS and w != value]
    others += [n / (len(words) - 1) for n in rest]
  for found in (places, others):
    assert stats.kstest(found, 'uniform').pvalue > 0.01


def test_fillers_follow_zipf():
  text = needle_documents(1, (200_000, 200_000)).texts[0]
  counts = collections.Counter(text.split())
  for rank in (2, 5, 20):
    ratio = counts['0'] / counts[str(rank - 1)]
    assert ratio == pytest.approx(rank, rel=0.1)


def test_a_seed_draws_the_same_texts_again():
  one, again, other = (
    needle_documents(5, (20, 30), seed=seed) for seed in (2, 2, 3)
  )
  assert one.texts == again.texts
  assert (one.labels == again.labels).all()
  assert one.texts != other.texts


def test_the_shortest_texts_have_room():
  for text in needle_documents(20, (11, 12)).texts:
    assert len(text.split()) in (11, 12)
    assert set(needle.LABELS) < set(text.split())


@pytest.mark.parametrize(
  ('num', 'length_range', 'reason'),
  [
    (0, (20, 30), 'num must be at least 1, got 0'),
    (1, (10, 30), r'rise from 11 on, got \(10, 30\)'),
    (1, (30, 20), r'rise from 11 on, got \(30, 20\)'),
  ],
)
def test_what_cannot_be_drawn_says_why(num, length_range, reason):
  with pytest.raises(ValueError, match=reason):
    needle_documents(num, length_range)
