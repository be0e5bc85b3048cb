"""Parts of documents that are longer than a model can read at once.

`SubwordTokenizer.encode` leaves their start alone. The other ways are:

- sentences drawn at random, up to the length of the model;
- windows, which are read apart and put together by their features; see
  `embedcomp.nn.bert.windowed`.

Reference: Park, Vyas and Shah, Efficient Classification of Long Documents Using
Transformers, ACL 2022: such simple ways are hard to beat.
"""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from embedcomp.data.batches.interface import Batch
from embedcomp.data.documents import Documents
from embedcomp.data.subword_tokenizer import Encoded, SubwordTokenizer

_SENTENCE_ENDS = re.compile(r'(?<=[.!?])\s+|\n+')
_MAX_WORDS = 24  # of a sentence; what has no full stops is cut after so many
_NUM_SPECIAL = 2  # tokens around what a model reads at once


def of_length(
  documents: Documents, tokenizer: SubwordTokenizer, min_subwords: int
) -> Documents:
  """Selects the documents that are long enough.

  Args:
    documents: N of them; where they are pairs, both texts count.
    tokenizer: that counts.
    min_subwords: of a document, special tokens included.

  Returns:
    Those that have so many, in their order.

  Raises:
    ValueError: if none has.
  """
  encoded = tokenizer.encode(documents.texts, documents.pairs)
  lengths = np.array([len(one.ids) for one in encoded])
  kept = np.flatnonzero(lengths >= min_subwords)
  if not len(kept):
    raise ValueError(
      f'no document has {min_subwords} subwords, the longest one has '
      f'{lengths.max()}.'
    )
  return documents.take(kept)


def sentences(text: str) -> list[str]:
  """Divides a text after full stops, question marks and ends of lines.

  Args:
    text: any. What is longer than 24 words without any of these, as texts
      without punctuation are, is divided after so many.

  Returns:
    The sentences, none empty.

  Example:
    >>> sentences('Is it? It is 2.5 at least.')
    ['Is it?', 'It is 2.5 at least.']
  """
  found = []
  for part in _SENTENCE_ENDS.split(text):
    words = part.split()
    found += [
      ' '.join(words[start : start + _MAX_WORDS])
      for start in range(0, len(words), _MAX_WORDS)
    ]
  return found


def drawn_sentences(
  subwords: Sequence[np.ndarray], length: int, rng: np.random.Generator
) -> np.ndarray:
  """Draws random sentences of a text, in the order that they have there.

  Args:
    subwords: of each sentence, [T] integers.
    length: subwords in all; the sentence that was drawn last is cut.
    rng: draws.

  Returns:
    [length] int32, or all subwords if there are fewer.
  """
  chosen, room = {}, length
  for number in rng.permutation(len(subwords)).tolist():
    if room <= 0:
      break
    chosen[number] = subwords[number][:room]
    room -= len(chosen[number])
  parts = [chosen[number] for number in sorted(chosen)]
  return np.concatenate([np.zeros(0, np.int32), *parts]).astype(np.int32)


def encode_sentences(
  tokenizer: SubwordTokenizer,
  texts: Sequence[str],
  max_length: int,
  seed: int = 0,
) -> Callable[[int], list[Encoded]]:
  """Prepares random sentences of texts.

  Args:
    tokenizer: of the model.
    texts: N of them.
    max_length: tokens at most, special ones included.
    seed: of the draws.

  Returns:
    Takes the number of a draw to N encoded texts.

  Raises:
    ValueError: if the length leaves no room.
  """
  room = _room(max_length)
  divided = [sentences(text) for text in texts]
  subwords = iter(tokenizer.subwords(one for text in divided for one in text))
  by_text = [[next(subwords) for _ in text] for text in divided]

  def draw(number: int) -> list[Encoded]:
    rng = np.random.default_rng([seed, number])
    return [
      _encoded(tokenizer, [drawn_sentences(text, room, rng)])
      for text in by_text
    ]

  return draw


def encode_windows(
  tokenizer: SubwordTokenizer,
  texts: Sequence[str],
  max_length: int,
  window: int = 512,
) -> list[Encoded]:
  """Divides texts into windows, each with its own special tokens.

  Args:
    tokenizer: of the model.
    texts: N of them.
    max_length: tokens of all windows of a text, special ones included; what is
      left of it beside whole windows is not used.
    window: tokens of each, special ones included. The last one of a text may be
      shorter.

  Returns:
    N encoded texts: batches of multiples of `window`, or of less than one,
    hold windows at its multiples.

  Raises:
    ValueError: if the length leaves no room.
  """
  window = min(window, max_length)
  room = _room(window)
  encoded = []
  for subwords in tokenizer.subwords(texts):
    subwords = subwords[: max_length // window * room]
    starts = range(0, max(len(subwords), 1), room)
    parts = [subwords[start : start + room] for start in starts]
    encoded.append(_encoded(tokenizer, parts))
  return encoded


def _room(length: int) -> int:
  """Number of subwords that there is room for beside special tokens."""
  if length <= _NUM_SPECIAL:
    raise ValueError(
      f'a length must leave room beside {_NUM_SPECIAL} special tokens, '
      f'got {length}.'
    )
  return length - _NUM_SPECIAL


def _encoded(tokenizer: SubwordTokenizer, parts) -> Encoded:
  """Joins parts of a text, each with special tokens around it."""
  first, last = [tokenizer.cls_id], [tokenizer.sep_id]
  ids = np.concatenate([ids for part in parts for ids in (first, part, last)])
  return Encoded(ids.astype(np.int32), np.zeros(len(ids), np.int32))


class RedrawnBatches:
  """Batches that are made anew for every epoch.

  Args:
    make_epoch: takes the number of an epoch to batches of the same documents.

  Attributes:
    num_batches: how many batches an epoch has.
    word_fields: of a batch that hold words.
  """

  def __init__(self, make_epoch: Callable[[int], Any]):
    # Two, so that a look ahead over the end of an epoch costs nothing.
    self._epoch = functools.lru_cache(maxsize=2)(make_epoch)
    self.num_batches: int = self._epoch(0).num_batches
    self.word_fields: tuple[str, ...] = self._epoch(0).word_fields

  def at(self, step: int) -> Batch:
    """Returns the batch of a step."""
    return self._epoch(step // self.num_batches).at(step)

  def for_evaluation(self) -> Iterator[Batch]:
    """Yields every item once, as the first epoch has it."""
    return self._epoch(0).for_evaluation()
