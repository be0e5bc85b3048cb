"""Words are counted as by hand; a saved vocabulary comes back or is refused."""

import collections
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp.data import PADDING, UNKNOWN, Vocabulary, tokenize

LETTERS = st.text('abc ', max_size=30)


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('', []),
    (' \t\n', []),
    ('the cat', ['the', 'cat']),
    ("Don't (stop)!", ["don't", '(', 'stop', ')', '!']),
    ('don\u2019t', ["don't"]),
    ("''quoted'' dogs'", ["'", "'", 'quoted', "'", "'", 'dogs', "'"]),
    ('Cafe\u0301 CAFÉ', ['café', 'café']),
    ('a<unk>b <UNK>', ['a', '<unk>', 'b', '<unk>']),
    ('3.5 x_1', ['3', '.', '5', 'x_1']),
    ('日本 😀', ['日本', '😀']),
  ],
)
def test_tokenize(text, words):
  assert tokenize(text) == words


@hypothesis.given(st.text())
def test_words_have_no_white_space(text):
  words = tokenize(text)
  assert all(word and word.split() == [word] for word in words)


@hypothesis.given(LETTERS)
def test_clean_text_is_merely_split(text):
  assert tokenize(text) == text.split()


def test_counts_by_hand():
  texts = ['b a b c', 'a b <unk> d', '<pad> d']
  vocabulary = Vocabulary.build(texts)
  assert vocabulary.words == (
    *('<pad>', '<unk>', 'b', 'a', 'd', '<', '>', 'c', 'pad'),
  )
  assert vocabulary.counts.tolist() == [0, 1, 3, 2, 2, 1, 1, 1, 1]
  assert vocabulary.counts.dtype == np.int64
  small = Vocabulary.build(texts, max_size=4)
  assert small.words == ('<pad>', '<unk>', 'b', 'a')
  assert small.counts.tolist() == [0, 7, 3, 2]
  frequent = Vocabulary.build(texts, min_count=2)
  assert frequent.words == ('<pad>', '<unk>', 'b', 'a', 'd')
  ids = small.encode('A <unk> <pad> zebra b')
  assert ids.dtype == np.int32
  assert ids.tolist() == [3, 1, 1, 1, 1, 1, 2]
  assert small.encode('a b a', max_length=2).tolist() == [3, 2]
  assert small.encode('').shape == (0,)


@hypothesis.given(
  texts=st.lists(LETTERS, max_size=5),
  max_size=st.none() | st.integers(2, 5),
  min_count=st.integers(1, 3),
)
def test_counts_are_those_of_the_encoded_text(texts, max_size, min_count):
  vocabulary = Vocabulary.build(texts, max_size, min_count)
  ids = np.concatenate([np.zeros(0, int), *map(vocabulary.encode, texts)])
  found = np.bincount(ids.astype(int), minlength=len(vocabulary))
  assert found.tolist() == vocabulary.counts.tolist()
  plain = collections.Counter(' '.join(texts).split())
  for word, count in zip(vocabulary.words[2:], vocabulary.counts[2:].tolist()):
    assert plain[word] == count >= min_count
  left = [plain[w] for w in plain if w not in vocabulary.words]
  if max_size is None or len(vocabulary) < max_size:
    assert all(count < min_count for count in left)
  else:
    assert len(vocabulary) == max_size


@hypothesis.given(
  st.lists(st.text(st.characters(), min_size=1), unique=True, max_size=8)
)
@hypothesis.settings(
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_strange_words_survive(tmp_path, words):
  words = [word for word in words if word not in ('<pad>', '<unk>')]
  counts = [0, 5, *sorted((len(word) for word in words), reverse=True)]
  vocabulary = Vocabulary(('<pad>', '<unk>', *words), np.array(counts))
  vocabulary.save(tmp_path / 'vocabulary.json')
  again = Vocabulary.load(tmp_path / 'vocabulary.json')
  assert again.words == vocabulary.words
  assert again.counts.tolist() == counts


def test_half_a_surrogate_pair_survives(tmp_path):
  words = ('<pad>', '<unk>', '\ud800', 'a\tb\n\u2028"\\')
  Vocabulary(words, [0, 0, 1, 1]).save(tmp_path / 'v')
  assert Vocabulary.load(tmp_path / 'v').words == words


def test_file_is_readable(tmp_path):
  Vocabulary.build(['été été x']).save(tmp_path / 'v')
  lines = (tmp_path / 'v').read_text(encoding='utf-8').splitlines()
  assert lines[3:5] == ['["été", 2],', '["x", 1]']


@pytest.mark.parametrize(
  ('words', 'counts', 'message'),
  [
    (('<unk>', '<pad>'), [0, 0], 'first words must be'),
    (('<pad>', '<unk>', ''), [0, 0, 1], 'none of them empty'),
    (('<pad>', '<unk>', 'a', 'a'), [0, 0, 1, 1], "differ, got 'a' 2 times"),
    (('<pad>', '<unk>', 'a'), [0, 0], r'must be 3 integers.*\[2\]'),
    (('<pad>', '<unk>', 'a'), [0, 0, 0.5], 'must be 3 integers'),
    (('<pad>', '<unk>', 'a'), [0, -1, 1], 'not be negative'),
    (('<pad>', '<unk>', 'a'), [1, 0, 1], '0 for padding'),
  ],
)
def test_wrong_vocabularies(words, counts, message):
  with pytest.raises(ValueError, match=message):
    Vocabulary(words, counts)


def test_wrong_limits():
  with pytest.raises(ValueError, match='max_size must be at least 2, got 1'):
    Vocabulary.build(['a'], max_size=1)
  with pytest.raises(ValueError, match='min_count must be at least 1, got 0'):
    Vocabulary.build(['a'], min_count=0)


def change(**fields):
  good = {'format': 'embedcomp-vocabulary', 'version': 1}
  good['words'] = [['<pad>', 0], ['<unk>', 0], ['a', 2]]
  return json.dumps(good | fields).encode()


@pytest.mark.parametrize(
  'data',
  [
    b'',
    b'\xff\xfe',
    b'[]',
    b'{"words": []}',
    b'[' * 100_000,
    change()[:-3],
    change(format='other'),
    change(version=2),
    change(version=True),
    change(more=1),
    change(words={'a': 1}),
    change(words=[]),
    change(words=[['<pad>', 0], ['<unk>', 0], ['a', True]]),
    change(words=[['<pad>', 0], ['<unk>', 0], ['a', 2**63]]),
    change(words=[['<pad>', 0], ['<unk>', 0], ['a', -1]]),
    change(words=[['<pad>', 0], ['<unk>', 0], ['a', 1, 1]]),
    change(words=[['<pad>', 0], ['<unk>', 0], [3, 1]]),
    change(words=[['<pad>', 0], ['<unk>', 0], ['a', 1], ['a', 1]]),
    change()[:-1] + b', "version": 1}',
  ],
)
def test_wrong_files_are_refused(tmp_path, data):
  path = tmp_path / 'vocabulary.json'
  path.write_bytes(data)
  with pytest.raises(ValueError, match=r'vocabulary\.json is not a valid'):
    Vocabulary.load(path)


def test_changed_files_have_a_base_that_is_right(tmp_path):
  (tmp_path / 'v').write_bytes(change())
  assert Vocabulary.load(tmp_path / 'v').words[2:] == ('a',)
  with pytest.raises(FileNotFoundError):
    Vocabulary.load(tmp_path / 'missing')
  assert (PADDING, UNKNOWN) == (0, 1)


def test_words_take_new_ids_with_their_counts():
  vocabulary = Vocabulary.build(['a a a b b c', 'nothing else'], min_count=1)
  order = np.r_[0, 1, np.arange(len(vocabulary) - 1, 1, -1)]
  moved = vocabulary.reordered(order)
  assert moved.words[2:] == vocabulary.words[:1:-1]
  for word in 'abc':
    (old,), (new,) = vocabulary.encode(word), moved.encode(word)
    assert (moved.words[new], order[new]) == (word, old)
    assert moved.counts[new] == vocabulary.counts[old]


@pytest.mark.parametrize(
  ('order', 'message'),
  [
    ([0, 1, 2], 'each id once'),
    ([0, 1, 2, 2], 'each id once'),
    ([1, 0, 2, 3], 'first words must be'),
  ],
)
def test_orders_hold_every_word_once(order, message):
  with pytest.raises(ValueError, match=message):
    Vocabulary.build(['a b']).reordered(order)
