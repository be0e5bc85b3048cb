"""Block tables: who reads what, counted block by block."""

import numpy as np
import pytest

from embedcomp.attention import block_patterns
from embedcomp.attention.block_patterns import Pattern

REACHES = pytest.mark.parametrize('reach', [0, 1, 2])


def patterns_of_chunks(reach, num_levels):
  """Patterns of chunks of two tokens, and lengths of up to 70 chunks."""
  pattern = Pattern(2, 1, num_levels, reach, num_global=0)
  for num_chunks in range(3, 71):
    if num_chunks > reach + 1:
      yield pattern, 2 * num_chunks


@REACHES
@pytest.mark.parametrize('num_levels', [None, 0, 1, 2, 3])
def test_each_chunk_reads_every_other_once(reach, num_levels):
  for pattern, length in patterns_of_chunks(reach, num_levels):
    count = pattern.num_chunks(length)
    near, *far = block_patterns.block_table(count, num_levels, reach)
    read = np.zeros((count, count + 1), int)  # the last column for -1
    for chunk in range(count):
      np.add.at(read[chunk], near[chunk], 1)
      for level, blocks in enumerate(far):
        for block in blocks[chunk][blocks[chunk] >= 0]:
          start = block << level
          assert start + 2**level <= count
          read[chunk, start : start + 2**level] += 1
    distance = abs(np.subtract.outer(np.arange(count), np.arange(count)))
    wanted = distance <= reach if num_levels == 0 else 1
    np.testing.assert_array_equal(read[:, :-1], wanted + 0 * distance)


@REACHES
def test_what_is_near_is_read_token_by_token_and_nothing_else(reach):
  near, *_ = block_patterns.block_table(8, None, reach)
  for chunk, row in enumerate(near):
    wanted = [other for other in range(8) if abs(other - chunk) <= reach]
    assert row[row >= 0].tolist() == wanted


def test_lists_of_eight_chunks_by_hand():
  near, chunks, pairs = block_patterns.block_table(8)
  assert near[0].tolist() == [0, 1, -1]
  assert near[3].tolist() == [2, 3, 4]
  assert chunks[0].tolist() == [2, 3, -1]
  assert chunks[2].tolist() == [0, 4, 5]
  assert chunks[3].tolist() == [0, 1, 5]
  assert chunks[7].tolist() == [4, 5, -1]
  assert pairs[0].tolist() == [2, 3]
  assert pairs[2].tolist() == [3, -1]
  assert pairs[7].tolist() == [0, 1]


def test_each_level_lists_three_blocks_at_most():
  for pattern, length in patterns_of_chunks(1, None):
    near, *far = block_patterns.block_table(pattern.num_chunks(length))
    assert near.shape[1] == 3
    assert all(blocks.shape[1] <= 3 for blocks in far)


@REACHES
def test_levels_go_up_to_where_all_pairs_are_near(reach):
  """One more would list nothing, and one less could list fewer blocks."""
  for pattern, length in patterns_of_chunks(reach, None):
    top = pattern.count_levels(length) - 1
    blocks = pattern.num_chunks(length) >> top
    assert blocks <= 2 * reach + 2
    assert top == 0 or -(-length // 2 ** (top + 1)) > reach + 1
    assert blocks << top == pattern.num_chunks(length)


def test_padding_is_less_than_a_largest_block():
  for pattern, length in patterns_of_chunks(1, None):
    largest = 2 ** (pattern.count_levels(length) - 1)
    assert 0 <= pattern.num_chunks(length) - length // 2 < largest


def test_longer_padding_changes_no_list_of_what_is_there():
  short, long = (block_patterns.block_table(count) for count in (12, 48))
  for chunk in range(12):
    for level, blocks in enumerate(short):
      there = blocks[chunk][blocks[chunk] >= 0]
      among = long[level][chunk]
      ends = 12 >> max(0, level - 1)
      found = among[(among >= 0) & (among < ends)]
      np.testing.assert_array_equal(found, there)


@REACHES
@pytest.mark.parametrize('num_global', [0, 1, 5])
def test_a_flat_table_has_the_same_blocks_one_after_the_other(
  reach, num_global
):
  """Blocks of two keys: a chunk of eight tokens fills four."""
  pattern = Pattern(8, 2, None, reach, 0, num_global)
  for length in (33, 71, 161, 300):
    count = pattern.num_chunks(length)
    near, *far = block_patterns.block_table(count, None, reach)
    names = [
      ('token', chunk, part) for chunk in range(count) for part in range(4)
    ]
    for level in range(len(far)):
      names += [(level, block) for block in range(count >> level)]
    globals_ = [('global', part) for part in range(-(-num_global // 2))]
    names += [*globals_, 'masked']
    table = pattern.table(length)
    assert table.min() >= 0
    for chunk, row in enumerate(table):
      read = [names[block] for block in row if names[block] != 'masked']
      wanted = [
        ('token', other, part)
        for other in near[chunk]
        if other >= 0
        for part in range(4)
      ]
      for level, blocks in enumerate(far):
        wanted += [(level, b) for b in blocks[chunk] if b >= 0]
      assert read == wanted + globals_


@pytest.mark.parametrize(
  'pattern',
  [
    Pattern(8, 4, shift=3, num_global=2),
    Pattern(8, 2, num_levels=1, reach=0, num_global=0),
    Pattern(4, 1, num_levels=0, reach=2, num_global=5),
    Pattern(8, 8, reach=2, shift=7),
  ],
)
@pytest.mark.parametrize('length', [1, 17, 71])
def test_levels_are_those_of_the_blocks_that_are_listed(pattern, length):
  """Token by token, from the definition of what is far."""
  tokens = pattern.shift + np.arange(length)
  count = max(1, pattern.count_levels(length))
  wanted = np.full((length, length), -1)
  for reader, read in np.ndindex(wanted.shape):
    if min(reader, read) < pattern.num_global:
      wanted[reader, read] = 0
      continue
    chunks = tokens[[reader, read]] // pattern.chunk_size
    if abs(chunks[0] - chunks[1]) <= pattern.reach:
      wanted[reader, read] = 0
    elif pattern.num_levels != 0:
      apart = [abs(np.subtract(*(chunks >> level))) for level in range(count)]
      far = [level for level in range(count) if apart[level] > pattern.reach]
      wanted[reader, read] = 1 + max(far)
  np.testing.assert_array_equal(pattern.levels_read(length), wanted)


def test_a_dense_text_is_read_token_by_token():
  found = Pattern(8, 4).levels_read(16)
  assert found.shape == (16, 16)
  assert not found.any()


def test_keys_are_counted():
  assert Pattern(8, 4).is_dense(16)
  assert Pattern(8, 4).num_keys(16) == 16
  assert not Pattern(8, 4).is_dense(17)
  assert Pattern(8, 4, shift=1).is_dense(15)
  assert not Pattern(8, 4, shift=1).is_dense(16)
  assert Pattern(8, 4, num_levels=0, num_global=2).num_keys(64) == 3 * 8 + 2
  # Eight chunks: three near, three of eight tokens, two of sixteen.
  assert Pattern(8, 4, num_global=0).num_keys(64) == 24 + 4 * 3 + 4 * 2
  assert Pattern(8, 4, num_global=3).num_keys(64) == 24 + 4 * 3 + 4 * 2 + 3


def test_keys_grow_by_the_same_number_when_the_length_doubles():
  counts = [Pattern(8, 4).num_keys(64 << level) for level in range(5)]
  assert set(np.diff(counts)) == {3 * 4}


@pytest.mark.parametrize(
  ('sizes', 'rule'),
  [
    ({'chunk_size': 0}, 'chunk_size must be an int of at least 1, got 0'),
    ({'chunk_size': 8.0}, r'chunk_size must be an int .* got 8\.0'),
    ({'num_summaries': 0}, 'num_summaries must be .* at least 1, got 0'),
    ({'num_summaries': 3}, 'num_summaries must divide chunk_size 8, got 3'),
    ({'num_levels': -1}, 'num_levels must be .* at least 0, got -1'),
    ({'reach': -1}, 'reach must be .* at least 0, got -1'),
    ({'reach': None}, 'reach must be .* got None'),
    ({'shift': 8}, 'shift must be below chunk_size 8, got 8'),
    ({'shift': -1}, 'shift must be .* at least 0, got -1'),
    ({'num_global': True}, 'num_global must be an int .* got True'),
  ],
)
def test_errors_name_the_value_and_the_rule(sizes, rule):
  with pytest.raises(ValueError, match=rule):
    Pattern(**{'chunk_size': 8, 'num_summaries': 4, **sizes})
