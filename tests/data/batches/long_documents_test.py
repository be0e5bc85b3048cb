"""What is read of long documents, by hand and by what must always hold."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp.data import Documents, TokenBatches
from embedcomp.data.batches import long_documents
from tests.data.tiny_tokenizers import TEXTS, tiny

CLS, SEP = 2, 3


@pytest.fixture(scope='module')
def tokenizer():
  return tiny('WordPiece')


def subwords_of(tokenizer, text):
  (subwords,) = tokenizer.subwords([text])
  return subwords.tolist()


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('One. Two? Three!  four', ['One.', 'Two?', 'Three!', 'four']),
    ('2.5 or v1.0 here', ['2.5 or v1.0 here']),
    ('a line\n\nand  another\n', ['a line', 'and another']),
    ('', []),
    (' \n ', []),
    ('w ' * 50, ['w ' * 23 + 'w', 'w ' * 23 + 'w', 'w w']),
  ],
)
def test_sentences_by_hand(text, expected):
  assert long_documents.sentences(text) == expected


@hypothesis.given(st.text(alphabet='ab .?!\n', max_size=200))
def test_sentences_hold_all_words_in_order(text):
  found = long_documents.sentences(text)
  assert ' '.join(found).split() == text.split()
  assert all(0 < len(one.split()) <= 24 for one in found)


@hypothesis.given(
  lengths=st.lists(st.integers(0, 6), max_size=12),
  room=st.integers(0, 30),
  seed=st.integers(0, 20),
)
def test_drawn_sentences_fill_the_room_in_order(lengths, room, seed):
  """Each piece is of its own, so that the order shows."""
  numbers = np.arange(sum(lengths))
  subwords = np.split(numbers, np.cumsum(lengths)[:-1]) if lengths else []
  rng = np.random.default_rng(seed)
  drawn = long_documents.drawn_sentences(subwords, room, rng)
  assert drawn.dtype == np.int32
  assert len(drawn) == min(room, sum(lengths))
  assert (np.diff(drawn) > 0).all()
  cut = 0
  for piece in subwords:  # a start of each, whole but for one at most
    kept = np.intersect1d(piece, drawn)
    np.testing.assert_array_equal(kept, piece[: len(kept)])
    cut += 0 < len(kept) < len(piece)
  assert cut <= 1


def test_all_sentences_are_as_likely(rng):
  subwords = np.arange(40).reshape(10, 4)
  counts = np.zeros(40)
  for _ in range(2000):
    counts[long_documents.drawn_sentences(subwords, 12, rng)] += 1
  np.testing.assert_allclose(counts / 2000, 0.3, atol=0.05)


def test_texts_are_read_in_other_sentences_at_each_draw(tokenizer):
  text = 'cat. dog. mat. dogs. cats. sat. on. it.'
  draw = long_documents.encode_sentences(
    tokenizer, [text, 'cat', ''], 10, seed=4
  )
  draws = [draw(number) for number in range(5)]
  known = [
    subwords_of(tokenizer, one) for one in long_documents.sentences(text)
  ]
  for first, second, third in draws:
    assert len(first.ids) == 10
    assert first.ids[0] == CLS
    assert first.ids[-1] == SEP
    # Sentences have two subwords each or more, and the last one drawn is cut.
    inner = first.ids[1:-1].tolist()
    assert sum(one[0] in inner for one in known) >= 3
    assert second.ids.tolist() == [CLS, *subwords_of(tokenizer, 'cat'), SEP]
    assert third.ids.tolist() == [CLS, SEP]
    assert not first.token_types.any()
  assert len({tuple(first.ids.tolist()) for first, *_ in draws}) > 1
  again = long_documents.encode_sentences(
    tokenizer, [text, 'cat', ''], 10, seed=4
  )
  np.testing.assert_array_equal(again(3)[0].ids, draws[3][0].ids)


def test_a_text_that_fits_is_read_whole(tokenizer):
  encoded = long_documents.encode_sentences(tokenizer, TEXTS, 64)(7)
  for one, plain in zip(encoded, tokenizer.encode(TEXTS)):
    np.testing.assert_array_equal(one.ids, plain.ids)


@hypothesis.given(window=st.integers(3, 9), max_length=st.integers(3, 40))
def test_windows_follow_each_other(window, max_length):
  tokenizer = tiny('WordPiece')
  texts = [*TEXTS, '']
  encoded = long_documents.encode_windows(tokenizer, texts, max_length, window)
  size = min(window, max_length)
  room = max_length // size * (size - 2)
  for text, one in zip(texts, encoded):
    parts = [one.ids[n : n + size] for n in range(0, len(one.ids), size)]
    assert all(part[0] == CLS and part[-1] == SEP for part in parts)
    inner = [id for part in parts for id in part[1:-1].tolist()]
    assert inner == subwords_of(tokenizer, text)[:room]
    assert len(one.ids) <= max_length
    assert one.token_types.shape == one.ids.shape


def test_one_window_is_the_start(tokenizer):
  for length in (6, 64):
    windows = long_documents.encode_windows(tokenizer, TEXTS, length, 512)
    for one, plain in zip(windows, tokenizer.encode(TEXTS, max_length=length)):
      np.testing.assert_array_equal(one.ids, plain.ids)


@pytest.mark.parametrize('length', [1, 2])
def test_special_tokens_need_room(tokenizer, length):
  for encode in (
    long_documents.encode_windows,
    long_documents.encode_sentences,
  ):
    with pytest.raises(ValueError, match=f'2 special tokens, got {length}'):
      encode(tokenizer, TEXTS, length)


def test_batches_are_those_of_their_epoch(tokenizer):
  texts = [' '.join(TEXTS)] * 3
  draw = long_documents.encode_sentences(tokenizer, texts, 12)

  def make_epoch(epoch):
    return TokenBatches(draw(epoch), [0, 1, 1], 2, buckets=(12,))

  batches = long_documents.RedrawnBatches(make_epoch)
  assert batches.num_batches == 2
  assert batches.word_fields == ('ids',)
  seen = []
  for step in (5, 0, 3, 2, 4, 1):  # resumed anywhere
    expected = make_epoch(step // 2).at(step)
    for name, array in batches.at(step).items():
      np.testing.assert_array_equal(array, expected[name])
    seen.append(batches.at(step)['ids'].tobytes())
  assert len(set(seen)) > 3, 'drawn anew'
  for _ in range(2):
    for one, other in zip(
      batches.for_evaluation(), make_epoch(0).for_evaluation(), strict=True
    ):
      np.testing.assert_array_equal(one['ids'], other['ids'])


def test_short_documents_are_left_out(tokenizer):
  documents = Documents(('cat', *TEXTS), [0, 1, 2, 3])
  lengths = [len(one.ids) for one in tokenizer.encode(documents.texts)]
  least = sorted(lengths)[2]
  kept = long_documents.of_length(documents, tokenizer, least)
  expected = [n for n, length in enumerate(lengths) if length >= least]
  assert kept.labels.tolist() == expected
  assert 0 < len(expected) < 4
  with pytest.raises(ValueError, match=f'the longest one has {max(lengths)}'):
    long_documents.of_length(documents, tokenizer, 1000)
