"""k-means against scikit-learn and against its definition."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from embedcomp.methods import kmeans


def clustered(rng, num=600, features=4, centers=12):
  means = rng.normal(size=(centers, features)) * 3
  labels = rng.integers(centers, size=num)
  points = means[labels] + rng.normal(size=(num, features))
  return points.astype(np.float32)


def inertia(points, weights, codewords):
  distances = np.square(points[:, None] - codewords).sum(-1)  # [N, K]
  return (weights * distances.min(axis=1)).sum()


@pytest.mark.parametrize('num', [1, 2, 7, 30, 64])
@pytest.mark.parametrize('structured', [True, False])
def test_error_is_close_to_scikit_learn(num, structured, rng):
  points = clustered(rng)
  if not structured:
    points = rng.normal(size=points.shape).astype(np.float32)
  weights = rng.exponential(size=len(points)) ** 2
  ours, theirs = [], []
  for seed in range(5):  # both can be caught in a poor optimum
    codewords, _ = kmeans.kmeans(
      points, weights, num, seed=seed, iterations=50, tolerance=1e-5
    )
    ours.append(inertia(points, weights, codewords))
    model = KMeans(num, n_init=1, random_state=seed)
    model.fit(points, sample_weight=weights)
    theirs.append(inertia(points, weights, model.cluster_centers_))
  assert np.mean(ours) < 1.05 * np.mean(theirs)


def test_assign_finds_the_nearest_by_brute_force(rng, monkeypatch):
  points = rng.normal(size=(999, 5)) + 3
  codewords = rng.normal(size=(13, 5)) + 3
  distances = np.square(points[:, None] - codewords).sum(-1)
  wanted = distances.argmin(axis=1)
  np.testing.assert_array_equal(kmeans.assign(points, codewords), wanted)
  monkeypatch.setattr(kmeans, '_CHUNK_SCORES', 1)  # many chunks, a last short
  np.testing.assert_array_equal(kmeans.assign(points, codewords), wanted)


def test_weighted_means_by_hand():
  points = np.array([[1.0, 0], [4, 3], [9, 9]], np.float32)
  means, mass = kmeans.weighted_means(
    points, np.array([2.0, 1, 5]), np.array([1, 1, 3]), 4
  )
  np.testing.assert_allclose(means, [[0, 0], [2, 1], [0, 0], [9, 9]])
  np.testing.assert_allclose(mass, [0, 3, 0, 5])


def test_codes_are_the_nearest_and_the_heaviest_come_first(rng):
  points = clustered(rng)
  weights = rng.exponential(size=len(points))
  codewords, codes = kmeans.kmeans(points, weights, 12)
  assert codewords.shape == (12, 4)
  assert codewords.dtype == np.float32
  np.testing.assert_array_equal(codes, kmeans.assign(points, codewords))
  mass = np.bincount(codes, weights=weights)
  assert (np.diff(mass) <= 0).all()


def test_integer_weights_equal_repeated_points(rng):
  points = clustered(rng, num=200, centers=6)
  weights = rng.integers(1, 6, size=len(points))
  repeated = np.repeat(points, weights, axis=0)
  settings = {'iterations': 50, 'tolerance': 1e-6}
  weighted, plain = [], []
  for seed in range(8):
    codewords, _ = kmeans.kmeans(points, weights, 6, seed=seed, **settings)
    weighted.append(inertia(points, weights, codewords))
    ones = np.ones(len(repeated))
    codewords, _ = kmeans.kmeans(repeated, ones, 6, seed=seed, **settings)
    plain.append(inertia(points, weights, codewords))
  np.testing.assert_allclose(min(weighted), min(plain), rtol=1e-3)


def test_one_codeword_is_the_weighted_mean(rng):
  points = rng.normal(size=(50, 3)) + 100
  weights = rng.exponential(size=50)
  codewords, codes = kmeans.kmeans(points, weights, 1)
  mean = np.average(points, axis=0, weights=weights)
  np.testing.assert_allclose(codewords, mean[None], rtol=1e-6)
  assert not codes.any()


def test_as_many_codewords_as_points_are_exact(rng):
  points = rng.normal(size=(20, 3)).astype(np.float32)
  codewords, codes = kmeans.kmeans(points, np.ones(20), 20)
  np.testing.assert_allclose(codewords[codes], points, atol=1e-6)


def test_fewer_distinct_points_than_codewords(rng):
  distinct = rng.normal(size=(3, 2)).astype(np.float32)
  points = np.tile(distinct, (10, 1))
  codewords, codes = kmeans.kmeans(points, np.ones(30), 8)
  assert codewords.shape == (8, 2)
  np.testing.assert_allclose(codewords[codes], points, atol=1e-6)


def test_fewer_points_with_weight_than_codewords(rng):
  points = rng.normal(size=(30, 2)).astype(np.float32)
  weights = (np.arange(30) < 2).astype(float)
  codewords, codes = kmeans.kmeans(points, weights, 5)
  np.testing.assert_allclose(codewords[codes[:2]], points[:2], atol=1e-6)


def test_candidates_that_lose_nothing_are_picked_once_each(rng):
  candidates = np.array([[0.0], [0], [3], [4]], np.float32)
  # The last two weigh nothing, and the second one is where the first one is.
  mass = np.array([1.0, 1, 0, 0])
  picked = kmeans._thin_out(candidates, mass, 4, rng)
  assert sorted(picked) == [0, 1, 2, 3]
  assert picked[0] in (0, 1)


def test_dead_codewords_restart(monkeypatch, rng):
  points = clustered(rng, num=300, centers=6)
  # All start at one point, so that all but one lose every point at once.
  monkeypatch.setattr(
    kmeans,
    '_seed',
    lambda points, weights, num, oversampling, rng: points[[0] * num],
  )
  weights = np.ones(len(points))
  codewords, codes = kmeans.kmeans(points, weights, 6, iterations=30)
  assert (np.bincount(codes, minlength=6) > 0).all()
  mean = kmeans.kmeans(points, weights, 1)[0]
  assert inertia(points, weights, codewords) < 0.5 * inertia(
    points, weights, mean
  )


def test_equal_seeds_give_equal_results(rng):
  points = clustered(rng)
  first = kmeans.kmeans(points, np.ones(len(points)), 9, seed=3)
  again = kmeans.kmeans(points, np.ones(len(points)), 9, seed=3)
  other = kmeans.kmeans(points, np.ones(len(points)), 9, seed=4)
  np.testing.assert_array_equal(first[0], again[0])
  np.testing.assert_array_equal(first[1], again[1])
  assert not np.array_equal(first[0], other[0])


def test_iterations_end_once_the_error_hardly_falls(rng):
  points = clustered(rng)
  weights = np.ones(len(points))
  once = kmeans.kmeans(points, weights, 9, iterations=1)
  many = kmeans.kmeans(points, weights, 9, iterations=50, tolerance=1e-6)
  assert not np.array_equal(once[0], many[0])
  # No step takes away 99 % of the error, so that the first one is the last.
  found = kmeans.kmeans(points, weights, 9, iterations=50, tolerance=0.99)
  np.testing.assert_array_equal(found[0], once[0])


@pytest.mark.parametrize('num', [0, 5])
def test_wrong_numbers_of_codewords_are_refused(num):
  with pytest.raises(ValueError, match=f'1 to 4 codewords.* got {num}'):
    kmeans.kmeans(np.zeros((4, 2)), np.ones(4), num)


def test_no_weight_at_all_is_refused():
  with pytest.raises(ValueError, match='must not all be zero'):
    kmeans.kmeans(np.zeros((4, 2)), np.zeros(4), 2)


@pytest.mark.parametrize('name', ['points', 'weights'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_what_is_not_finite_is_refused(name, value, rng):
  arrays = {'points': rng.normal(size=(9, 2)), 'weights': np.ones(9)}
  arrays[name][3] = value
  with pytest.raises(ValueError, match=f'{name} of k-means must be finite'):
    kmeans.kmeans(**arrays, num_codewords=2)


def test_a_flag_that_blas_raises_without_cause_stops_nothing(rng, monkeypatch):
  points, weights = rng.normal(size=(50, 3)), np.ones(50)
  expected, _ = kmeans.kmeans(points, weights, 4)
  matmul = np.matmul

  def flagging(*args, **kwargs):
    np.subtract(np.inf, np.inf)
    return matmul(*args, **kwargs)

  monkeypatch.setattr(np, 'matmul', flagging)
  found, _ = kmeans.kmeans(points, weights, 4)
  np.testing.assert_array_equal(found, expected)


def test_small_sets_are_their_own_sample(rng):
  weights = rng.exponential(size=7)
  rows, sampled = kmeans.training_sample(weights, 7, rng)
  np.testing.assert_array_equal(rows, np.arange(7))
  np.testing.assert_allclose(sampled, weights, rtol=1e-6)


def test_words_without_weight_have_a_fifth_of_the_average_chance(rng):
  weights = np.where(np.arange(1000) % 5 == 0, 4.0, 0.0)
  # Roots are 2 and 0, on average 0.4; a fifth of that is 0.08. In all, 200
  # times 2 and 800 times 0.08 share 116 places.
  chance = 116 / (200 * 2 + 800 * 0.08) * np.array([2, 0.08])
  drawn, heavy = np.zeros(2), []
  for _ in range(50):
    rows, sampled = kmeans.training_sample(weights, 116, rng)
    is_heavy = weights[rows] > 0
    drawn += is_heavy.sum(), (~is_heavy).sum()
    heavy.extend(sampled[is_heavy])
  np.testing.assert_allclose(drawn / 50, chance * [200, 800], rtol=0.05)
  np.testing.assert_allclose(heavy, 4 / chance[0], rtol=1e-5)


def test_rows_that_may_cost_more_are_drawn_more_often(rng):
  """Sums of weights times energies vary less than weights alone allow."""
  weights, energies = rng.exponential(size=2000), rng.lognormal(0, 2, size=2000)
  truth = weights @ energies
  errors = []
  for energy in (energies, None):
    draws = [
      kmeans.training_sample(weights, 200, rng, energy) for _ in range(100)
    ]
    sums = np.array([sampled @ energies[rows] for rows, sampled in draws])
    errors.append(np.sqrt(np.mean(np.square(sums / truth - 1))))
  assert errors[0] < errors[1] / 2


def test_energies_of_zero_leave_the_weights(rng):
  weights = rng.exponential(size=100)
  rows, sampled = kmeans.training_sample(weights, 50, rng, np.zeros(100))
  assert abs(len(rows) - 50) <= 1
  assert np.isfinite(sampled).all()


def test_training_sample_is_unbiased(rng):
  weights = 1 / (1.0 + np.arange(2000))
  values = np.sin(np.arange(2000))
  totals, sums, sizes = [], [], []
  for _ in range(400):
    rows, sampled = kmeans.training_sample(weights, 300, rng)
    assert (np.diff(rows) > 0).all()
    sizes.append(len(rows))
    totals.append(sampled.sum())
    sums.append(sampled @ values[rows])
  assert abs(np.mean(sizes) - 300) < 1
  for estimates, truth in (
    (totals, weights.sum()),
    (sums, weights @ values),
  ):
    standard_error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - truth) < 4 * standard_error + 1e-4
