"""Lists against a reader and a generator that go token by token."""

import collections
import statistics
from random import Random

import numpy as np
import pytest
from scipy import stats

from embedcomp.data import listops_documents
from embedcomp.data.datasets import listops

APPLY = {
  '[MAX': max,
  '[MIN': min,
  '[MED': lambda args: int(statistics.median(args)),
  '[SM': lambda args: sum(args) % 10,
}


def work_out(text):
  """The value of a list, its levels, and how many arguments there are of each.

  With a stack, as one reads it from left to right.
  """
  stack, depth, numbers = [('', [])], 1, []
  for token in text.split():
    if token in APPLY:
      stack.append((token, []))
    elif token == ']':
      operator, args = stack.pop()
      numbers.append(len(args))
      stack[-1][1].append(APPLY[operator](args))
    else:
      stack[-1][1].append(int(token))
      depth = max(depth, len(stack))
  ((_, (value,)),) = stack
  return value, depth, numbers


def draw_item(random, level, max_depth, max_args):
  """The tokens of an item by the published grammar, one after another."""
  if level == max_depth or (level > 1 and random.random() >= 0.25):
    return [str(random.randrange(10))]
  tokens = [random.choice(sorted(APPLY))]
  for _ in range(random.randint(2, max_args)):
    tokens += draw_item(random, level + 1, max_depth, max_args)
  return [*tokens, ']']


@pytest.mark.parametrize(
  ('text', 'value'),
  [
    ('[MAX 2 9 [MIN 4 7 ] 0 ]', 9),
    ('[MED 1 3 8 ]', 3),
    ('[MED 1 4 8 9 [MED 2 5 ] 0 ]', 3),  # 0 1 3 4 8 9: halfway, rounded down
    ('[SM 4 9 [SM 9 9 9 ] ]', 0),
  ],
)
def test_the_reader_works_out_lists_by_hand(text, value):
  assert work_out(text)[0] == value


@pytest.mark.parametrize('length_range', [(4, 12), (30, 60), (500, 2000)])
def test_labels_are_what_lists_are_worth(length_range):
  documents = listops_documents(150, length_range, seed=3)
  found = [work_out(text) for text in documents.texts]
  values, depths, numbers = zip(*found)
  assert [int(listops.LABELS[label]) for label in documents.labels] == [*values]
  lengths = [len(text.split()) for text in documents.texts]
  assert length_range[0] <= min(lengths) <= max(lengths) <= length_range[1]
  assert max(depths) <= 10
  every = [number for some in numbers for number in some]
  assert min(every) == 2
  assert max(every) == 10


def test_sizes_of_the_grammar_are_kept_to():
  documents = listops_documents(50, (10, 40), max_depth=3, max_args=4)
  _, depths, numbers = zip(*map(work_out, documents.texts))
  assert max(depths) == 3
  assert {n for some in numbers for n in some} == {2, 3, 4}
  flat = listops_documents(20, (4, 5), max_depth=2, max_args=3)
  assert {work_out(text)[1] for text in flat.texts} == {2}


def test_lists_are_as_likely_as_by_the_grammar():
  """Against drawing them one by one and keeping those of some length."""
  least, most, sizes = 15, 50, {'max_depth': 6, 'max_args': 6}
  random = Random(0)
  plain = []
  while len(plain) < 1500:
    tokens = draw_item(random, 1, **sizes)
    if least <= len(tokens) <= most:
      plain.append(' '.join(tokens))
  ours = listops_documents(1500, (least, most), **sizes).texts

  def figures(texts):
    values, depths, numbers = zip(*map(work_out, texts))
    lengths = [len(text.split()) for text in texts]
    return lengths, depths, values, [n for some in numbers for n in some]

  for one, other in zip(figures(plain), figures(ours)):
    assert stats.ks_2samp(one, other).pvalue > 0.01
  tokens = [
    collections.Counter(' '.join(texts).split()) for texts in (plain, ours)
  ]
  assert set(tokens[0]) == set(tokens[1])
  table = [[count[token] for token in sorted(count)] for count in tokens]
  share = np.array(table) / np.sum(table, axis=1, keepdims=True)
  np.testing.assert_allclose(share[0], share[1], rtol=0.1)


def test_a_seed_draws_the_same_lists_again():
  one, again = (listops_documents(40, (20, 50), seed=7) for _ in range(2))
  assert one.texts == again.texts
  np.testing.assert_array_equal(one.labels, again.labels)
  other = listops_documents(40, (20, 50), seed=8)
  assert not set(one.texts) & set(other.texts)
  fewer = listops_documents(5, (20, 50), seed=7)
  assert fewer.texts == one.texts[:5]


@pytest.mark.parametrize(
  ('num', 'length_range', 'sizes', 'reason'),
  [
    (0, (9, 10), {}, 'num must be at least 1, got 0'),
    (1, (3, 10), {}, r'rise from 4 on, got \(3, 10\)'),
    (1, (10, 9), {}, r'rise from 4 on, got \(10, 9\)'),
    (1, (4, 9), {'max_depth': 1}, 'max_depth must be at least 2, got 1'),
    (1, (4, 9), {'max_args': 1}, 'max_args must be at least 2, got 1'),
    # Two arguments make lengths of 4, 7, 10, ...
    (1, (5, 6), {'max_args': 2, 'max_depth': 4}, 'of lengths that lists have'),
    (1, (99, 99), {'max_depth': 2}, 'none of 102400 lists is so long'),
  ],
)
def test_what_cannot_be_drawn_says_why(num, length_range, sizes, reason):
  with pytest.raises(ValueError, match=reason):
    listops_documents(num, length_range, **sizes)
