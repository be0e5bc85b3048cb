"""Recursive chunked attention by its definition: the reference of its tests.

Every key that a query reads stands for a set of tokens: for one of them, or for
an equal part of a block. Its mass is sum_j exp(q0 k_j) over the set, its key
and value are averages by those terms, and it is read with the weight
mass exp((q - q0) K), which is exp(q k) for one token. Nothing is padded, and no
summary is made of other summaries.
"""

import numpy as np

from embedcomp.attention.block_patterns import Pattern


def plain_attention(
  query,
  key,
  value,
  mask=None,
  *,
  anchor=0.0,
  level_bias=((0.0,),),
  **sizes,
):
  """As `embedcomp.recursive_attention`, in float64; logits must be small."""
  query, key, value = (
    np.swapaxes(np.asarray(array, np.float64), 1, 2)
    for array in (query, key, value)
  )  # [B, N, T, H]
  length, scale = query.shape[2], query.shape[3] ** -0.5
  mask = np.ones((len(query), length)) if mask is None else mask * 1.0
  means = np.einsum('BNTH,BT->BNH', query, mask) / mask.sum(1)[:, None, None]
  anchors = (means + anchor)[:, :, None] * scale
  terms = np.exp((anchors * key).sum(-1)) * mask[:, None]  # [B, N, S]
  level_bias = np.asarray(level_bias, np.float64)  # [levels, N]
  result = np.zeros_like(query)
  for queries, sets in reading_lists(Pattern(**sizes), length):
    bias = np.zeros((level_bias.shape[1], 1, len(sets)))
    members = np.zeros((len(sets), length))
    for number, (tokens, level) in enumerate(sets):
      members[number, tokens] = 1
      if level is not None:
        bias[:, 0, number] = level_bias[min(level, len(level_bias) - 1)]
    shares = members * terms[:, :, None]  # [B, N, K, S]
    mass = shares.sum(-1)
    divisor = np.where(mass, mass, 1)[..., None]
    keys, values = shares @ key / divisor, shares @ value / divisor
    moved = query[:, :, queries] * scale - anchors
    weights = mass[:, :, None] * np.exp(moved @ keys.swapaxes(2, 3) + bias)
    total = weights.sum(-1, keepdims=True)
    result[:, :, queries] = weights @ values / np.where(total, total, 1)
  return result.swapaxes(1, 2)


def reading_lists(pattern, length):
  """Lists the sets of tokens that queries read, by the fields of a pattern.

  Returns:
    Pairs of queries and sets. A set is its tokens and its level, which is None
    for a token that is read by itself.
  """
  leading = [
    ([token], None) for token in range(min(pattern.num_global, length))
  ]
  others = [([token], None) for token in range(pattern.num_global, length)]

  def tokens_of(block, level, part=0, parts=1):
    size = (pattern.chunk_size << level) // parts
    start = (block * parts + part) * size - pattern.shift
    return list(
      range(max(start, pattern.num_global), min(start + size, length))
    )

  def read(block, level, chunk):
    """A block that is far is read as a whole, else its halves are."""
    if abs((chunk >> level) - block) > pattern.reach:
      return [
        (tokens_of(block, level, part, pattern.num_summaries), level)
        for part in range(pattern.num_summaries)
      ]
    if level == 0:
      return [([token], None) for token in tokens_of(block, 0)]
    halves = 2 * block, 2 * block + 1
    return [part for half in halves for part in read(half, level - 1, chunk)]

  result = [(list(range(len(leading))), leading + others)]
  num_chunks = -(-(length + pattern.shift) // pattern.chunk_size)
  top = 10 if pattern.num_levels is None else max(0, pattern.num_levels - 1)
  for chunk in range(num_chunks):
    blocks = range(-(-num_chunks // 2**top))
    if pattern.num_levels == 0:
      blocks = [
        block for block in blocks if abs(block - chunk) <= pattern.reach
      ]
    sets = [part for block in blocks for part in read(block, top, chunk)]
    result.append((tokens_of(chunk, 0), leading + sets))
  return result
