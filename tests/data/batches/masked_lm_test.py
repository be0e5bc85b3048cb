"""Masked rows: whole streams, fair shares, the same noise on every host."""

import numpy as np
import pytest

from embedcomp.data import (
  MaskedLMBatches,
  RenumberedBatches,
  Shard,
  token_stream,
)
from tests.data.tiny_tokenizers import KINDS, TEXTS, tiny

TOKENIZER = tiny('WordPiece')


def stream_of(num_tokens):
  """Ordinary words, each once or more, so that any loss of one is seen."""
  words = np.setdiff1d(np.arange(TOKENIZER.vocab_size), TOKENIZER.special_ids)
  return words[np.arange(num_tokens) % len(words)]


def restored(batch):
  """[B, T] rows with the words that were masked put back."""
  ids = batch['ids'].copy()
  for row, positions in enumerate(batch['mask_positions']):
    for place, label, weight in zip(
      positions, batch['labels'][row], batch['weights'][row]
    ):
      if weight:
        ids[row, place] = label
  return ids


def assert_equal(one, other):
  assert set(one) == set(other)
  for name, array in one.items():
    np.testing.assert_array_equal(array, other[name])
    assert array.dtype == other[name].dtype


def test_rows_by_hand():
  batches = MaskedLMBatches([9, 8, 7, 6, 5], TOKENIZER, 2, 5)
  (batch,) = batches.for_evaluation()
  assert restored(batch).tolist() == [[2, 9, 8, 7, 3], [2, 6, 5, 3, 0]]
  assert batch['mask_positions'].shape == (2, 1)
  assert batch['weights'].tolist() == [[1], [1]]
  dtypes = {name: array.dtype.name for name, array in batch.items()}
  assert dtypes == {
    'ids': 'int32',
    'mask_positions': 'int32',
    'labels': 'int32',
    'weights': 'float32',
  }


def test_fillers_have_nothing_to_guess():
  (batch,) = MaskedLMBatches([9, 8], TOKENIZER, 3, 4).for_evaluation()
  assert restored(batch).tolist() == [[2, 9, 8, 3], [0] * 4, [0] * 4]
  assert batch['weights'].tolist() == [[1], [0], [0]]
  assert batch['mask_positions'][1:].tolist() == [[0], [0]]


def test_epochs_hold_the_whole_stream_with_other_masks():
  tokens = stream_of(1000)
  batches = MaskedLMBatches(tokens, TOKENIZER, 4, 32, seed=1)
  assert batches.num_batches == 9
  seen = []
  for epoch in (0, 1):
    steps = range(epoch * 9, epoch * 9 + 9)
    found = [batches.at(step) for step in steps]
    rows = np.concatenate([restored(batch) for batch in found])
    words = rows[:, 1:][~np.isin(rows[:, 1:], TOKENIZER.special_ids)]
    np.testing.assert_array_equal(np.sort(words), np.sort(tokens))
    masked = np.concatenate([batch['ids'] for batch in found])
    order = np.lexsort(rows.T)
    seen.append(masked[order])
  assert (seen[0] != seen[1]).any()


def test_shares():
  """15 % of the words; of these 80 % masked, 10 % others, 10 % as they were.

  Each is within four deviations of a binomial count.
  """
  tokens = stream_of(60_000)
  batches = MaskedLMBatches(tokens, TOKENIZER, 64, 102)
  found = [batches.at(step) for step in range(batches.num_batches)]
  whole = {n: np.concatenate([batch[n] for batch in found]) for n in found[0]}
  assert whole['mask_positions'].shape[1] == 15
  full = whole['weights'].all(axis=1)
  assert full.sum() >= 599, 'all rows but the last and fillers are full'
  positions, labels = whole['mask_positions'][full], whole['labels'][full]
  assert all(len(set(row)) == 15 for row in positions.tolist())
  seen = np.take_along_axis(whole['ids'][full], positions, axis=1)
  is_masked = seen == TOKENIZER.mask_id
  is_kept = seen == labels
  number = labels.size
  chance = 1 / (TOKENIZER.vocab_size - len(TOKENIZER.special_ids))
  for found, share in (
    (is_masked.sum(), 0.8),
    (is_kept.sum(), 0.1 + 0.1 * chance),
    ((~is_masked & ~is_kept).sum(), 0.1 - 0.1 * chance),
  ):
    deviation = np.sqrt(number * share * (1 - share))
    assert abs(found - number * share) < 4 * deviation
  # Places are spread evenly, and strangers are ordinary words.
  counts = np.bincount(positions.ravel(), minlength=102)[1:-1]
  assert abs(counts - number / 100).max() < 4.5 * np.sqrt(number / 100)
  strangers = seen[~is_masked & ~is_kept]
  assert not np.isin(strangers, TOKENIZER.special_ids).any()
  assert len(np.unique(strangers)) > 0.9 / chance


def test_special_tokens_are_never_masked():
  sep = TOKENIZER.sep_id
  tokens = token_stream([[7, 8]] * 50, separator=sep)
  for batch in MaskedLMBatches(tokens, TOKENIZER, 8, 32).for_evaluation():
    guessed = batch['labels'][batch['weights'] > 0]
    assert set(guessed.tolist()) == {7, 8}
    words = (~np.isin(restored(batch), TOKENIZER.special_ids)).sum(axis=1)
    np.testing.assert_array_equal(
      batch['weights'].sum(axis=1),
      np.where(words, np.maximum(np.rint(0.15 * words), 1), 0),
    )
  nothing = MaskedLMBatches([sep] * 9, TOKENIZER, 2, 8)
  assert not nothing.at(0)['weights'].any()


def test_a_batch_depends_on_seed_and_step_alone():
  args = (stream_of(500), TOKENIZER, 4, 16)
  batches = MaskedLMBatches(*args, seed=3)
  steps = range(2 * batches.num_batches)
  found = [batches.at(step) for step in steps]
  evaluated = list(batches.for_evaluation())
  again = MaskedLMBatches(*args, seed=3)
  shards = [
    MaskedLMBatches(*args, seed=3, shard=Shard(shard, 2)) for shard in (0, 1)
  ]

  def join(parts):
    return {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}

  for step in reversed(steps):
    assert_equal(again.at(step), found[step])
    assert_equal(join([shard.at(step) for shard in shards]), found[step])
  for batch, other, *parts in zip(
    evaluated,
    again.for_evaluation(),
    *(shard.for_evaluation() for shard in shards),
  ):
    assert_equal(other, batch)
    assert_equal(join(parts), batch)
  other = MaskedLMBatches(*args, seed=4).at(0)
  assert (other['ids'] != found[0]['ids']).any()


def test_an_evaluation_has_noise_of_its_own():
  batches = MaskedLMBatches(stream_of(100), TOKENIZER, 1, 102)
  (evaluated,) = batches.for_evaluation()
  assert (batches.at(0)['mask_positions'] != evaluated['mask_positions']).any()


def test_renumbered_rows_spell_the_same_words():
  tokens = stream_of(200)
  batches = MaskedLMBatches(tokens, TOKENIZER, 4, 16)
  new_ids = np.random.default_rng(0).permutation(TOKENIZER.vocab_size)
  old, new = batches.at(1), RenumberedBatches(batches, new_ids).at(1)
  np.testing.assert_array_equal(new['ids'], new_ids[old['ids']])
  np.testing.assert_array_equal(new['labels'], new_ids[old['labels']])
  np.testing.assert_array_equal(new['mask_positions'], old['mask_positions'])


@pytest.mark.parametrize('kind', KINDS)
def test_texts_become_rows(kind):
  tokenizer = tiny(kind)
  tokens = token_stream(tokenizer.subwords(TEXTS), separator=tokenizer.sep_id)
  batch = MaskedLMBatches(tokens, tokenizer, 4, 24).at(0)
  rows = restored(batch)
  is_row = batch['weights'].any(axis=1)
  assert (rows[is_row, 0] == tokenizer.cls_id).all()
  assert (rows[~is_row] == tokenizer.pad_id).all()


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'tokens': []}, 'one token or more .* got 0 tokens'),
    ({'length': 2}, 'at least 3, got 2 tokens and length 2'),
    ({'tokens': [9999]}, f'below {TOKENIZER.vocab_size}, got 9999'),
    ({'batch_size': 0}, 'got 0'),
  ],
)
def test_wrong_arguments(options, message):
  given = {
    'tokens': [7, 8],
    'tokenizer': TOKENIZER,
    'batch_size': 1,
    'length': 4,
  }
  with pytest.raises(ValueError, match=message):
    MaskedLMBatches(**(given | options))
