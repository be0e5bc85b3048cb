"""Weighted k-means on the host, in bounded memory.

Minimises sum_i w_i |x_i - c_(a_i)|^2 over codewords c and assignments a with
Lloyd's iterations. Codewords start from weighted k-means++ samples drawn in a
few rounds instead of one by one, twice as many as needed, and thinned out
(k-means||, Bahmani et al., VLDB 2012); a codeword that loses all its points
restarts at one of the worst represented points.

NumPy runs this faster on CPUs than XLA does (its argmin is not vectorised) and
than scikit-learn (which seeds one codeword at a time); it needs no compilation
for each new shape.
"""

import numpy as np
from scipy import sparse

# Scores held at a time: small enough to stay in a core's cache.
_CHUNK_SCORES = 1 << 17
_SEEDING_ROUNDS = 8
# Candidates drawn in each round at least; of many, the better ones are kept.
_MIN_PER_ROUND = 8


def _extend(points: np.ndarray) -> np.ndarray:
  """Appends a constant 1, so that one product gives x c - |c|^2 / 2."""
  ones = np.ones((len(points), 1), np.float32)
  return np.hstack([points, ones])


def _scorer(codewords: np.ndarray) -> np.ndarray:
  half_norms = 0.5 * np.square(codewords).sum(axis=1, keepdims=True)
  return np.ascontiguousarray(np.hstack([codewords, -half_norms]).T)


def _nearest(extended: np.ndarray, codewords: np.ndarray):
  """Nearest codeword of every point and its score x c - |c|^2 / 2."""
  scorer = _scorer(codewords.astype(np.float32))
  num_points, num_codewords = len(extended), len(codewords)
  chunk = max(_CHUNK_SCORES // num_codewords, 64)
  scores = np.empty((min(chunk, num_points), num_codewords), np.float32)
  codes = np.empty(num_points, np.intp)
  best = np.empty(num_points, np.float32)
  for start in range(0, num_points, chunk):
    stop = min(start + chunk, num_points)
    block = scores[: stop - start]
    # Of finite numbers, too, some kernels of OpenBLAS raise the flag (NumPy's
    # issue 24067), which the results do not bear out.
    with np.errstate(invalid='ignore'):
      np.matmul(extended[start:stop], scorer, out=block)
    np.argmax(block, axis=1, out=codes[start:stop])
    best[start:stop] = np.take_along_axis(
      block, codes[start:stop, None], axis=1
    )[:, 0]
  return codes, best


def assign(points: np.ndarray, codewords: np.ndarray) -> np.ndarray:
  """Finds the nearest codeword of every point.

  Args:
    points: [N, D] float.
    codewords: [K, D] float.

  Returns:
    [N] integers in [0, K).

  Example:
    >>> assign(np.array([[0.1], [0.9]]), np.array([[1.0], [0.0]])).tolist()
    [1, 0]
  """
  return _nearest(_extend(np.asarray(points, np.float32)), codewords)[0]


def weighted_means(
  points: np.ndarray, weights: np.ndarray, codes: np.ndarray, num: int
) -> tuple[np.ndarray, np.ndarray]:
  """The weighted mean of the points of each code, and each code's mass.

  Args:
    points: [N, D] float32.
    weights: [N] non-negative.
    codes: [N] integers in [0, num).
    num: number of codes.

  Returns:
    [num, D] float32 means (zero where a code has no mass) and [num] masses.
  """
  indptr = np.arange(len(codes) + 1)
  weights = np.asarray(weights, np.float32)
  shape = (num, len(codes))
  membership = sparse.csc_matrix((weights, codes, indptr), shape=shape)
  mass = np.bincount(codes, weights=weights, minlength=num)
  means = membership @ points
  means /= np.maximum(mass, np.finfo(np.float32).tiny)[:, None]
  return means.astype(np.float32), mass


def _draw(scores: np.ndarray, num: int, rng: np.random.Generator):
  """Draws up to `num` distinct points with probabilities given by `scores`."""
  candidates = np.flatnonzero(scores > 0)
  if len(candidates) <= num:
    return candidates
  races = rng.exponential(size=len(candidates)) / scores[candidates]
  return candidates[np.argpartition(races, num)[:num]]


def _seed(points, weights, num_codewords, oversampling, rng):
  """k-means||: candidates in rounds, thinned out; repeats if too few differ."""
  norms = np.square(points).sum(axis=1)
  extended = _extend(points)
  chosen = newest = _draw(weights, 1, rng)
  distances = np.full(len(points), np.inf, np.float32)
  per_round = -(-oversampling * num_codewords // _SEEDING_ROUNDS)
  per_round = max(per_round, _MIN_PER_ROUND)
  most = max(oversampling * num_codewords, 1)
  if oversampling > 1:
    most = max(most, 1 + _SEEDING_ROUNDS * _MIN_PER_ROUND)
  while len(chosen) < most:
    _, scores = _nearest(extended, points[newest])
    distances = np.minimum(distances, np.maximum(norms - 2 * scores, 0))
    distances[newest] = 0
    num = min(per_round, most - len(chosen))
    newest = _draw(weights * distances, num, rng)
    if not len(newest):
      break
    chosen = np.concatenate([chosen, newest])
  if len(chosen) <= num_codewords:
    extra = rng.integers(len(points), size=num_codewords - len(chosen))
    return points[np.concatenate([chosen, extra])]
  candidates = points[chosen]
  codes, _ = _nearest(extended, candidates)
  mass = np.bincount(codes, weights=weights, minlength=len(candidates))
  return candidates[_thin_out(candidates, mass, num_codewords, rng)]


def _thin_out(candidates, mass, num, rng) -> list[int]:
  """Greedy k-means++ among a few candidates: the best of some draws a step."""
  norms = np.square(candidates).sum(axis=1, keepdims=True)
  num_draws = 2 + int(np.log(num))
  picked: list[int] = []
  distances = np.ones((len(candidates), 1))
  for _ in range(num):
    cumulative = np.cumsum(mass * distances[:, 0])
    if not cumulative[-1] > 0:
      rest = np.setdiff1d(np.arange(len(candidates)), picked)
      return picked + rest[: num - len(picked)].tolist()
    draws = np.searchsorted(cumulative, rng.random(num_draws) * cumulative[-1])
    draws = np.minimum(draws, len(candidates) - 1)
    squares = norms + norms[draws].T - 2 * candidates @ candidates[draws].T
    squares = np.maximum(squares, 0)  # [candidates, draws]
    if picked:
      squares = np.minimum(distances, squares)
    best = int(np.argmin(mass @ squares))
    distances = squares[:, best : best + 1]
    distances[draws[best]] = 0
    picked.append(int(draws[best]))
  return picked


def kmeans(
  points: np.ndarray,
  weights: np.ndarray,
  num_codewords: int,
  *,
  seed: int = 0,
  iterations: int = 10,
  tolerance: float = 1e-3,
  oversampling: int = 2,
) -> tuple[np.ndarray, np.ndarray]:
  """Fits codewords to weighted points.

  Args:
    points: [N, D] float, finite.
    weights: [N] non-negative and finite, not all zero.
    num_codewords: K, at most N.
    seed: of the random start; equal seeds give equal results.
    iterations: Lloyd iterations at most.
    tolerance: stop once the error falls by less than this share.
    oversampling: candidates for each codeword to start from. Thinning out two
      candidates lowers the error, most where points are few, and takes as long
      as some iterations; 1 does without.

  Returns:
    [K, D] float32 codewords, heaviest first, so that the leading ones are the
    best ones to keep, and [N] the nearest codeword of each point.

  Raises:
    ValueError: if there are fewer points than codewords, no weight at all, or
      a number that is not finite.
  """
  points = np.asarray(points, np.float32)
  weights = np.asarray(weights, np.float32)
  if not 1 <= num_codewords <= len(points):
    raise ValueError(
      f'need 1 to {len(points)} codewords for as many points, '
      f'got {num_codewords}.'
    )
  for name, array in (('points', points), ('weights', weights)):
    num_bad = array.size - np.count_nonzero(np.isfinite(array))
    if num_bad:
      raise ValueError(
        f'{name} of k-means must be finite, {num_bad} of {array.size} are not.'
      )
  if not weights.sum() > 0:
    raise ValueError('the weights of k-means must not all be zero.')
  rng = np.random.default_rng(seed)
  center = np.average(points, axis=0, weights=weights).astype(np.float32)
  points = points - center  # keeps the squared distances accurate
  norms = np.square(points).sum(axis=1)
  extended = _extend(points)
  codewords = _seed(points, weights, num_codewords, oversampling, rng)
  codes, scores = _nearest(extended, codewords)
  previous = np.inf
  for _ in range(iterations):
    losses = weights * np.maximum(norms - 2 * scores, 0)
    error = losses.sum(dtype=np.float64)
    if error >= previous * (1 - tolerance):
      break
    previous = error
    codewords, mass = weighted_means(points, weights, codes, num_codewords)
    dead = np.flatnonzero(mass == 0)
    restarts = _draw(losses, len(dead), rng)
    codewords[dead[: len(restarts)]] = points[restarts]
    codes, scores = _nearest(extended, codewords)
  mass = np.bincount(codes, weights=weights, minlength=num_codewords)
  order = np.argsort(-mass, kind='stable')
  place = np.empty_like(order)
  place[order] = np.arange(num_codewords)
  return codewords[order] + center, place[codes]


def training_sample(
  weights: np.ndarray,
  size: int,
  rng: np.random.Generator,
  energies: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Draws rows whose reweighted sums estimate the weighted sums over all.

  Rows are kept with probabilities in proportion to the square root of their
  weight (at least a fifth of the average), by which their weights are divided:
  frequent words are nearly always in, rare ones are represented.

  Args:
    weights: [N] non-negative.
    size: expected number of rows.
    rng: source of randomness.
    energies: [N] non-negative, what each row may cost beside its weight; the
      same if not given.

  Returns:
    [S] increasing row numbers and [S] float32 weights; all rows if N <= size.
  """
  weights = np.asarray(weights, np.float64)
  if len(weights) <= size:
    return np.arange(len(weights)), weights.astype(np.float32)
  costs = weights if energies is None else weights * energies
  probabilities = np.sqrt(costs if costs.any() else weights)
  probabilities = np.maximum(probabilities, 0.2 * probabilities.mean())
  for _ in range(20):  # fills up what capping at 1 takes away
    probabilities = np.minimum(probabilities * (size / probabilities.sum()), 1)
  position = np.cumsum(probabilities) + rng.random()
  rows = np.flatnonzero(
    np.diff(
      np.floor(position), prepend=np.floor(position[0] - probabilities[0])
    )
    > 0
  )
  return rows, (weights[rows] / probabilities[rows]).astype(np.float32)
