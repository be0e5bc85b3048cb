"""Losses of distillation against plain loops over what is real."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from embedcomp import distillation
from embedcomp.distillation import Mean

VARIANCE = 1.7
LENGTHS = (5, 0, 2, 4)
MASK = np.arange(5) < np.array(LENGTHS)[:, None]  # [4, 5]
ROWS = np.array([True, False, True, True])
HALVES = slice(2), slice(2, 4)


def token_logits_loss(student, teacher, mask):
  return distillation.logits_loss(student, teacher, mask, 2.0)


def state_loss(student, teacher, mask):
  return distillation.hidden_state_loss(student, teacher, mask, VARIANCE)


def relation_loss(student, teacher, mask):
  return distillation.relation_loss(student, teacher, mask, 2)


# Each loss with its mask and the shape of the features that it masks.
LOSSES = {
  'logits': (distillation.logits_loss, ROWS, (7,)),
  'token_logits': (token_logits_loss, MASK, (7,)),
  'regression': (distillation.regression_loss, ROWS, ()),
  'states': (state_loss, MASK, (6,)),
  'relations': (relation_loss, MASK, (3, 4)),
  'cosine': (distillation.cosine_loss, ROWS, (6,)),
  'similarity': (distillation.similarity_loss, ROWS, (6,)),
}
every_loss = pytest.mark.parametrize('name', LOSSES)
# Losses of texts or of pairs know no padding of tokens.
every_token_loss = pytest.mark.parametrize(
  'name', ['token_logits', 'states', 'relations']
)


@functools.cache
def compiled(name):
  """(student, teacher, mask) -> the loss, and the slopes of its value."""
  loss_fn = LOSSES[name][0]

  def loss_of(both, mask):
    loss = loss_fn(*both, mask)
    return loss.value, loss

  both_slopes = jax.grad(loss_of, has_aux=True)
  return jax.jit(lambda *arrays: both_slopes(arrays[:2], arrays[2])[::-1])


def random_models(rng, name):
  """Student, teacher and mask."""
  _, mask, features = LOSSES[name]
  arrays = rng.normal(size=(2, *mask.shape, *features)).astype(np.float32)
  return *arrays, mask


def softmax(logits):
  terms = [math.exp(logit) for logit in logits]
  return [term / sum(terms) for term in terms]


def plain_kl(student, teacher):
  pairs = zip(softmax(student), softmax(teacher))
  return sum(t * (math.log(t) - math.log(s)) for s, t in pairs)


def plain_cosine(first, second):
  product = sum(float(a) * float(b) for a, b in zip(first, second))
  return product / math.dist(first, [0] * len(first)) / math.hypot(*second)


def check(mean, losses):
  """A `Mean` against the losses that it is of."""
  np.testing.assert_allclose(mean.weight, len(losses))
  np.testing.assert_allclose(mean.total, sum(losses), 2e-5)
  np.testing.assert_allclose(mean.value, sum(losses) / len(losses), 2e-5)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 4.0])
def test_logits_are_compared_by_their_softened_probabilities(rng, temperature):
  student, teacher = rng.normal(size=(2, 4, 7)).astype(np.float32)
  losses = [
    temperature**2
    * plain_kl(student[b] / temperature, teacher[b] / temperature)
    for b in np.flatnonzero(ROWS)
  ]
  found = jax.jit(distillation.logits_loss, static_argnums=3)(
    student, teacher, ROWS, temperature
  )
  check(found, losses)


def test_hot_logits_have_the_gradient_of_a_squared_error(rng):
  """Hinton et al. 2015, equation 4: (z_S - z_T) / C for logits of mean zero."""
  student, teacher = rng.normal(size=(2, 1, 8)).astype(np.float32)
  student -= student.mean()
  teacher -= teacher.mean()
  slope = jax.grad(
    lambda logits: (
      distillation.logits_loss(logits, teacher, np.ones(1, bool), 1e3).value
    )
  )(student)
  # Few digits of the probabilities are left at such a temperature.
  np.testing.assert_allclose(slope, (student - teacher) / 8, atol=1e-3)


LOWEST = jnp.finfo(jnp.float32).min


@pytest.mark.parametrize(
  ('low', 'temperature'), [(-1e9, 1), (-np.inf, 1), (LOWEST, 0.5), (LOWEST, 1)]
)
@pytest.mark.parametrize('student_low', [0.1, -1e9, -np.inf])
def test_a_class_that_the_teacher_rules_out_counts_for_nothing(
  low, temperature, student_low
):
  """As if the teacher had given it a very small probability."""
  student = jnp.array([[0.3, -0.2, student_low], [1.0, 0.0, 2.0]])
  teacher = jnp.array([[1.0, 0.5, low], [0.5, 0.5, 1.0]])

  @jax.value_and_grad
  def loss(student, teacher):
    mask = jnp.array([True, True])
    return distillation.logits_loss(student, teacher, mask, temperature).value

  found, slope = loss(student, teacher)
  wanted, wanted_slope = loss(
    jnp.maximum(student, -1e3), jnp.maximum(teacher, -1e3)
  )
  np.testing.assert_allclose(found, wanted, 1e-6)
  np.testing.assert_allclose(slope, wanted_slope, atol=1e-6)


def test_a_teacher_without_any_class_is_not_passed_over():
  """It is no distribution, and the loss shows that something is wrong."""
  for broken in (-np.inf, np.nan):
    teacher = jnp.full((1, 2), broken)
    assert np.isnan(
      distillation.logits_loss(jnp.zeros((1, 2)), teacher, [True]).value
    )


def test_a_class_that_only_the_student_rules_out_is_infinitely_far():
  student, teacher = jnp.array([[0.0, -jnp.inf]]), jnp.zeros((1, 2))
  assert distillation.logits_loss(student, teacher, [True]).value == np.inf


def test_logits_of_one_class_say_nothing():
  found = distillation.logits_loss(np.ones((2, 1)), np.zeros((2, 1)), [1, 1])
  assert found.value == 0


def test_numbers_have_a_squared_error():
  student, teacher = np.array([[1.0, 5.0, 9.0], [3.0, 3.0, 0.0]])
  found = distillation.regression_loss(student, teacher, [True, True, False])
  check(found, [4, 4])


def test_states_have_a_squared_error_for_each_token(rng):
  student, teacher, mask = random_models(rng, 'states')
  losses = [
    sum((s - t) ** 2 for s, t in zip(student[b, t], teacher[b, t]))
    / 6
    / VARIANCE
    for b, t in zip(*np.nonzero(mask))
  ]
  check(compiled('states')(student, teacher, mask)[0], losses)


def test_a_projection_makes_states_of_another_width_comparable(rng):
  student = rng.normal(size=(4, 5, 4)).astype(np.float32)
  projection = rng.normal(size=(4, 6)).astype(np.float32)
  teacher = rng.normal(size=(4, 5, 6)).astype(np.float32)

  def loss_of(projection):
    return distillation.hidden_state_loss(
      student, teacher, MASK, VARIANCE, projection
    ).value

  expected = state_loss(student @ projection, teacher, MASK).value
  found, slope = jax.jit(jax.value_and_grad(loss_of))(projection)
  np.testing.assert_allclose(found, expected, 1e-5)
  # That of least squares: X^T (X W - Y) by hand.
  states, errors = student[MASK], (student @ projection - teacher)[MASK]
  factor = 2 / (6 * VARIANCE * MASK.sum())
  np.testing.assert_allclose(slope, factor * states.T @ errors, 1e-3, 1e-5)


def test_variance_is_that_of_each_feature_over_real_tokens(rng):
  teacher = 5 + rng.normal(size=(4, 5, 6)).astype(np.float32)
  tokens = teacher[MASK].astype(np.float64)
  expected = np.mean([np.var(tokens[:, d]) for d in range(6)])
  found = distillation.teacher_variance(teacher, MASK)
  np.testing.assert_allclose(found, expected, 1e-5)


def test_saying_the_mean_state_costs_one(rng):
  teacher = 5 + rng.normal(size=(4, 5, 6)).astype(np.float32)
  student = np.broadcast_to(teacher[MASK].mean(0), teacher.shape)
  variance = distillation.teacher_variance(teacher, MASK)
  found = distillation.hidden_state_loss(student, teacher, MASK, variance)
  np.testing.assert_allclose(found.value, 1, 1e-5)


def test_cosines_are_those_of_each_text(rng):
  student, teacher, mask = random_models(rng, 'cosine')
  losses = [
    1 - plain_cosine(student[b], teacher[b]) for b in np.flatnonzero(mask)
  ]
  check(compiled('cosine')(student, teacher, mask)[0], losses)


def test_cosines_take_a_projection(rng):
  student = rng.normal(size=(4, 3)).astype(np.float32)
  projection = rng.normal(size=(3, 6)).astype(np.float32)
  teacher = rng.normal(size=(4, 6)).astype(np.float32)
  found = distillation.cosine_loss(student, teacher, ROWS, projection)
  losses = [
    1 - plain_cosine(student[b] @ projection, teacher[b])
    for b in np.flatnonzero(ROWS)
  ]
  check(found, losses)


@pytest.mark.parametrize(
  ('vector', 'loss'), [((2, 0), 0), ((0, 3), 1), ((-1, 0), 2)]
)
def test_the_loss_of_a_cosine_runs_from_zero_to_two(vector, loss):
  found = distillation.cosine_loss(np.array([vector]), [[5, 0]], [True])
  np.testing.assert_allclose(found.value, loss, atol=1e-6)


def test_similarities_are_compared_pair_by_pair(rng):
  """The student's vectors are shorter, and nobody minds."""
  student = rng.normal(size=(4, 3)).astype(np.float32)
  teacher = rng.normal(size=(4, 6)).astype(np.float32)
  pairs = [(i, j) for i in (0, 2, 3) for j in (0, 2, 3) if i != j]
  losses = [
    (plain_cosine(*student[[i, j]]) - plain_cosine(*teacher[[i, j]])) ** 2
    for i, j in pairs
  ]
  check(jax.jit(distillation.similarity_loss)(student, teacher, ROWS), losses)


def test_similarities_do_not_change_under_rotations(rng):
  student, _, mask = random_models(rng, 'similarity')
  rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
  found = distillation.similarity_loss(student, 3 * student @ rotation, mask)
  assert found.value < 1e-10


@every_loss
def test_a_student_like_its_teacher_has_no_loss(rng, name):
  student, _, mask = random_models(rng, name)
  loss, (slope, _) = compiled(name)(student, student, mask)
  np.testing.assert_allclose(loss.value, 0, atol=1e-6)
  np.testing.assert_allclose(slope, 0, atol=1e-6)


@every_loss
def test_a_student_unlike_its_teacher_has_a_loss(rng, name):
  loss, _ = compiled(name)(*random_models(rng, name))
  assert loss.value > 0.01


@every_loss
def test_a_step_down_the_gradient_lowers_the_loss(rng, name):
  student, teacher, mask = random_models(rng, name)
  before, (slope, _) = compiled(name)(student, teacher, mask)
  after, _ = compiled(name)(student - 0.01 * slope, teacher, mask)
  expected = -0.01 * np.square(slope).sum()
  np.testing.assert_allclose(after.value - before.value, expected, 0.1)


@every_loss
def test_no_gradient_reaches_the_teacher(rng, name):
  _, slopes = compiled(name)(*random_models(rng, name))
  assert np.abs(slopes[0]).max() > 0
  np.testing.assert_array_equal(slopes[1], 0)


def test_no_gradient_reaches_the_variance(rng):
  student, teacher, mask = random_models(rng, 'states')

  def loss_of(variance):
    return distillation.hidden_state_loss(
      student, teacher, mask, variance
    ).value

  assert jax.grad(loss_of)(1.0) == 0


@every_loss
def test_what_is_not_real_counts_for_nothing(rng, name):
  student, teacher, mask = random_models(rng, name)
  counts = mask.reshape(*mask.shape, *[1] * (student.ndim - mask.ndim))
  spoilt = np.where(counts, student, np.nan), np.where(counts, teacher, np.inf)
  loss, (slope, _) = compiled(name)(student, teacher, mask)
  found, (found_slope, _) = compiled(name)(*spoilt, mask)
  assert found == loss
  np.testing.assert_array_equal(found_slope, slope)
  np.testing.assert_array_equal(np.where(counts, 0, slope), 0)


@every_token_loss
def test_longer_padding_changes_nothing(rng, name):
  arrays = random_models(rng, name)
  longer = [
    np.pad(a, [(0, 0), (0, 3), *[(0, 0)] * (a.ndim - 2)]) for a in arrays
  ]
  expected, (slope, _) = compiled(name)(*arrays)
  found, (found_slope, _) = compiled(name)(*longer)
  assert found.weight == expected.weight == sum(LENGTHS)
  np.testing.assert_allclose(found.total, expected.total, 1e-5)
  np.testing.assert_allclose(found_slope[:, :5], slope, 1e-4, 1e-6)


@pytest.mark.parametrize('name', sorted(LOSSES.keys() - {'similarity'}))
def test_losses_of_parts_of_a_batch_add_up(rng, name):
  arrays = random_models(rng, name)
  whole, (slope, _) = compiled(name)(*arrays)
  halves = [compiled(name)(*(a[rows] for a in arrays)) for rows in HALVES]
  summed = halves[0][0] + halves[1][0]
  np.testing.assert_allclose(summed.total, whole.total, 1e-5)
  assert summed.weight == whole.weight
  slopes = [
    half.weight / whole.weight * half_slope for half, (half_slope, _) in halves
  ]
  np.testing.assert_allclose(np.concatenate(slopes), slope, 1e-4, 1e-6)


@every_loss
def test_nothing_but_padding_has_no_loss(rng, name):
  student, teacher, mask = random_models(rng, name)
  loss, (slope, _) = compiled(name)(student, teacher, np.zeros_like(mask))
  assert loss.value == loss.weight == 0
  np.testing.assert_array_equal(slope, 0)


def test_nothing_but_padding_has_no_variance():
  states, mask = np.ones((2, 3, 4)), np.zeros((2, 3), bool)
  variance = distillation.teacher_variance(states, mask)
  assert variance == 0
  loss = distillation.hidden_state_loss(states, states, mask, variance)
  assert loss.value == 0


@every_loss
@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_arithmetic_is_in_float32(rng, name, dtype):
  student, teacher, mask = random_models(rng, name)
  student, teacher = student.astype(dtype), teacher.astype(dtype)
  loss, (slope, _) = compiled(name)(student, teacher, mask)
  assert loss.total.dtype == loss.weight.dtype == jnp.float32
  assert slope.dtype == dtype
  student, teacher = student.astype(np.float32), teacher.astype(np.float32)
  expected, _ = compiled(name)(student, teacher, mask)
  np.testing.assert_allclose(loss.value, expected.value, 1e-6)


def test_masks_may_be_integers(rng):
  student, teacher, mask = random_models(rng, 'states')
  found, _ = compiled('states')(student, teacher, 2 * mask.astype(np.int32))
  assert found == compiled('states')(student, teacher, mask)[0]


@every_loss
def test_large_outputs_have_finite_losses(rng, name):
  student, teacher, mask = random_models(rng, name)
  loss, (slope, _) = compiled(name)(1e3 * student, 1e3 * teacher, mask)
  assert np.isfinite(loss.value)
  assert np.isfinite(slope).all()


@every_loss
def test_masks_of_another_shape_are_refused(rng, name):
  loss_fn = LOSSES[name][0]
  student, teacher, mask = random_models(rng, name)
  with pytest.raises(ValueError, match=r'student must have the axes of the ma'):
    loss_fn(student, teacher, mask[:1])
  with pytest.raises(ValueError, match=r'teacher must have .* got \[1'):
    loss_fn(student, teacher[:1], mask)


@every_loss
def test_masks_of_floats_are_refused(rng, name):
  loss_fn = LOSSES[name][0]
  student, teacher, mask = random_models(rng, name)
  with pytest.raises(ValueError, match='mask must be bool or integers of 0 an'):
    loss_fn(student, teacher, np.where(mask, 0, -1e4))


@pytest.mark.parametrize('name', ['logits', 'states', 'cosine'])
def test_other_widths_are_refused(rng, name):
  loss_fn = LOSSES[name][0]
  student, teacher, mask = random_models(rng, name)
  with pytest.raises(ValueError, match=r'(classes|projection) .* got 5\.'):
    loss_fn(student[..., :5], teacher, mask)


def test_projections_between_other_widths_are_refused(rng):
  student, teacher, mask = random_models(rng, 'cosine')
  with pytest.raises(ValueError, match=r'must be \[6, 6\], .* got \[6, 5\]'):
    distillation.cosine_loss(student, teacher, mask, np.ones((6, 5)))


@pytest.mark.parametrize('temperature', [0, -1.0, math.nan])
def test_temperatures_are_positive(temperature):
  with pytest.raises(ValueError, match='temperature must be positive'):
    distillation.logits_loss(np.ones((1, 2)), np.ones((1, 2)), [1], temperature)


def test_means_are_trees_that_add():
  means = Mean(jnp.float32(6), jnp.float32(2)), Mean(jnp.float32(1), 5)
  summed = jax.tree.map(jnp.add, *means)
  assert summed == means[0] + means[1] == Mean(7, 7)
  assert jax.jit(lambda mean: mean.value)(means[0]) == 3
