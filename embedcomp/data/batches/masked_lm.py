"""Batches of plain text in which words are to be guessed.

Of 15 % of the words that a row has, chosen anew each epoch, 80 % are replaced
by the mask, 10 % by any word, and 10 % stay.

Reference: Devlin et al., BERT, 2019, section 3.1; chosen anew as in Liu et
al., RoBERTa, 2019.
"""

from collections.abc import Iterator

import numpy as np

from embedcomp.data.batches.interface import WHOLE, Batch, Batches, Shard
from embedcomp.data.batches.stream import token_stream
from embedcomp.data.subword_tokenizer import SubwordTokenizer

SHARE = 0.15
_MASKED, _REPLACED = 0.8, 0.1
# What the noise of an epoch and of an evaluation differ by.
_TRAINING, _EVALUATION = 0, 1


class MaskedLMBatches(Batches):
  """Rows of a stream between a first and a last token, with words masked.

  A batch is a dict of

    ids             [B, T] int32, what the model sees
    mask_positions  [B, P] int32, the words to be guessed; 0 where the weight
                    is 0
    labels          [B, P] int32, the words that were there
    weights         [B, P] float32; 0 where a row has fewer words to guess,
                    else 1

  with P = round(0.15 (T - 2)). What is masked depends on seed and step alone,
  in an evaluation on the seed and the number of the batch.

  Args:
    tokens: [N] subwords of a text, such as
      `token_stream(tokenizer.subwords(texts), separator=tokenizer.sep_id)`.
      Special tokens in it are never masked.
    tokenizer: whose subwords these are.
    batch_size: B, of all shards together.
    length: T, tokens of a row.
    seed: of the order of rows, and of what is masked.
    shard: this host's part; the number of hosts must divide B.

  Raises:
    ValueError: if there are no tokens, if they are not those of the tokenizer,
      or if an argument is out of range.
  """

  word_fields = ('ids', 'labels')

  def __init__(
    self,
    tokens: np.ndarray,
    tokenizer: SubwordTokenizer,
    batch_size: int,
    length: int,
    seed: int = 0,
    *,
    shard: Shard = WHOLE,
  ):
    stream = token_stream([tokens])
    if not len(stream) or length < 3:
      raise ValueError(
        'masking needs one token or more and a length of at least 3, '
        f'got {len(stream)} tokens and length {length}.'
      )
    if stream.max() >= tokenizer.vocab_size:
      raise ValueError(
        f'tokens must be below {tokenizer.vocab_size}, got {stream.max()}.'
      )
    self._mask_id = tokenizer.mask_id
    self._is_special = np.zeros(tokenizer.vocab_size, bool)
    self._is_special[[*tokenizer.special_ids]] = True
    self._ordinary = np.flatnonzero(~self._is_special).astype(np.int32)
    self._num_positions = max(1, round(SHARE * (length - 2)))
    self._ids = _packed(stream, tokenizer, length)
    classes = np.zeros(len(self._ids) - 1, np.int32)
    super().__init__(classes, batch_size, seed, shard)

  def at(self, step: int) -> Batch:
    batch = super().at(step)
    return self._masked(batch['ids'], [self._seed, _TRAINING, step])

  def for_evaluation(self) -> Iterator[Batch]:
    for number, batch in enumerate(super().for_evaluation()):
      yield self._masked(batch['ids'], [self._seed, _EVALUATION, number])

  def _batch(self, rows: np.ndarray, size_class: int) -> Batch:
    return {'ids': self._ids[rows]}

  def _masked(self, ids: np.ndarray, noise: list[int]) -> Batch:
    """Masks this shard's part of a batch, with noise of the whole batch."""
    rng = np.random.default_rng(noise)
    shape = (self._batch_size, self._num_positions)
    rank = rng.random((self._batch_size, ids.shape[1]))[self._own]
    kind = rng.random(shape)[self._own]
    drawn = rng.choice(self._ordinary, shape)[self._own]

    is_special = self._is_special[ids]
    positions = np.where(is_special, 2, rank).argsort(axis=1)
    positions = positions[:, : self._num_positions]
    num_words = (~is_special).sum(axis=1)
    num_chosen = np.maximum(np.rint(SHARE * num_words), num_words > 0)
    is_chosen = np.arange(self._num_positions) < num_chosen[:, None]
    positions = np.where(is_chosen, positions, 0)
    labels = np.take_along_axis(ids, positions, axis=1)
    seen = np.where(kind < _MASKED, self._mask_id, labels)
    is_replaced = (kind >= _MASKED) & (kind < _MASKED + _REPLACED)
    seen = np.where(is_replaced, drawn, seen)
    np.put_along_axis(ids, positions, np.where(is_chosen, seen, labels), axis=1)
    return {
      'ids': ids,
      'mask_positions': positions.astype(np.int32),
      'labels': labels,
      'weights': is_chosen.astype(np.float32),
    }


def _packed(
  stream: np.ndarray, tokenizer: SubwordTokenizer, length: int
) -> np.ndarray:
  """Packs a stream into [rows + 1, T] int32; the last row is for fillers."""
  room = length - 2
  num_rows = -(-len(stream) // room)
  words = np.full((num_rows + 1) * room, tokenizer.pad_id, np.int32)
  words[: len(stream)] = stream
  ids = np.full((num_rows + 1, length), tokenizer.pad_id, np.int32)
  ids[:, 1:-1] = words.reshape(-1, room)
  ids[:-1, 0] = tokenizer.cls_id
  ids[: num_rows - 1, -1] = tokenizer.sep_id
  in_last = len(stream) - (num_rows - 1) * room
  ids[num_rows - 1, 1 + in_last] = tokenizer.sep_id
  return ids
