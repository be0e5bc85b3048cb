"""Each method's table in the plainest words, to hold the library against."""

import math

import jax
import numpy as np

MASK = 2**32 - 1


def plain_values(stored):
  """[...] float32 values of a stored factor, by its definition."""
  values = np.asarray(stored.values).astype(np.float32)
  if stored.scale is None:
    return values
  return values * np.asarray(stored.scale).astype(np.float32)


def fmix32(key):
  """MurmurHash3's finaliser in Python's integers."""
  key ^= key >> 16
  key = key * 0x85EBCA6B & MASK
  key ^= key >> 13
  key = key * 0xC2B2AE35 & MASK
  return key ^ key >> 16


def hashed_buckets(row, num):
  first = fmix32(row + 1) % num
  step = fmix32(row ^ 0x9E3779B9) % max(num - 1, 1)
  return first, (first + step + 1) % num


def _product(real, codes, shape, xp):
  words = xp.concatenate(
    [book[codes[:, m]] for m, book in enumerate(real['codebooks'])], axis=1
  )
  return words @ real['rotation'] if 'rotation' in real else words


def _tensor_train(real, shape, xp):
  cores = real['first'], real['middle'], real['last']
  table = xp.einsum('xjp,pykr,rzq->xyzjkq', *cores)
  rows = table.reshape(math.prod(table.shape[:3]), -1)
  return rows[: shape.num_words, : shape.features]


def _hashed(real, shape):
  pairs = [
    hashed_buckets(row, len(real['buckets'])) for row in range(shape.num_words)
  ]
  first, second = np.array(pairs).T
  weights, buckets = real['weights'], real['buckets']
  return weights[:, :1] * buckets[first] + weights[:, 1:] * buckets[second]


def _widths(blocks):
  """Axes of each block of a text such as '2x1+1x3'."""
  runs = [run.split('x') for run in blocks.split('+') if run]
  return [int(width) for count, width in runs for _ in range(int(count))]


def _reflections(left, xp):
  """[D, D] product of the Householder reflections of [D, R] columns."""
  product = xp.eye(len(left))
  for k in range(left.shape[1]):
    x = left[:, k] * (np.arange(len(left)) >= k)
    v = x + xp.linalg.norm(x) * np.eye(len(left))[k]
    reflection = xp.eye(len(left)) - 2 * xp.outer(v, v) / (v @ v)
    left, product = reflection @ left, product @ reflection
  return product


def _scalar(real, codes, shape, xp):
  coefficients = np.zeros((shape.num_words, 0), np.float32)
  if codes is not None:
    coefficients = codes * xp.asarray(real['steps'])[None]
  return _on_axes(coefficients, real, shape, xp)


def _graded(real, codes, shape, blocks, xp):
  widths = _widths(blocks)
  edges = np.cumsum([0, *widths])
  books = real['codebooks']
  coded = [np.zeros((shape.num_words, 0), np.float32)]
  for m in range(len(widths)):
    coded.append(books[:, edges[m] : edges[m + 1]][codes[:, m]])
  return _on_axes(xp.concatenate(coded, axis=1), real, shape, xp)


def _on_axes(coefficients, real, shape, xp):
  num_axes = coefficients.shape[1]
  if 'axes' not in real:  # the features themselves
    return coefficients @ np.eye(shape.features)[:num_axes]
  axes = real['axes']
  rank = len(axes)
  fixed = axes.T if xp is np else jax.lax.stop_gradient(axes.T)
  others = _reflections(fixed, xp)[:, rank:].T
  axes = xp.concatenate([axes, others])
  means = real['mean'][None] @ axes[:rank]
  return coefficients @ axes[:num_axes] + means


def plain_table(name, real, codes, shape, xp=np, blocks=''):
  """The whole table of a method.

  Args:
    name: of the method.
    real: its factors by name, dequantized.
    codes: [W, M] integers, or None.
    shape: of the table.
    xp: numpy, or jax.numpy to take gradients.
    blocks: of graded codes.

  Returns:
    [W, D].
  """
  if name == 'dense':
    return real['table']
  if name == 'low_rank':
    return real['coefficients'] @ real['basis']
  if name in ('pq', 'vq', 'dpq_sx', 'dpq_vq'):
    return _product(real, codes, shape, xp)
  if name == 'projected_pq':
    return _product(real, codes, shape, xp) @ real['basis']
  if name == 'rvq':
    books = enumerate(real['codebooks'])
    return sum(book[codes[:, m]] for m, book in books)
  if name == 'tensor_train':
    return _tensor_train(real, shape, xp)
  if name == 'graded':
    return _graded(real, codes, shape, blocks, xp)
  if name == 'scalar':
    return _scalar(real, codes, shape, xp)
  if name == 'hashed':
    return _hashed(real, shape)
  if name == 'drop':
    return real['vector'] * np.ones((shape.num_words, 1), np.float32)
  raise ValueError(f'no plain table is known for {name!r}.')
