"""Recursive attention in programs: transformations, dropout, memory, errors."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import embedcomp
from embedcomp.attention.recursive import SummaryParams, recursive_attention
from tests.attention.plain_recursive import plain_attention

SIZES = {'chunk_size': 8, 'num_summaries': 4}


def texts(rng, length=23, batch=1, heads=2, features=4):
  shape = 3, batch, length, heads, features
  return rng.normal(size=shape).astype(np.float32)


# Transformations


def test_it_can_be_mapped_compiled_rematerialised_and_differentiated(rng):
  many = texts(rng, batch=3)
  direction = rng.normal(size=many.shape)
  mask = np.arange(23)[None].repeat(3, axis=0) % 5 > 0
  seen = mask[:, :, None, None]

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(1, 0, 0), out_axes=1)
  def gradient(arrays, mask, seen):  # of one text
    @jax.jit
    @jax.checkpoint
    def energy(arrays):
      attended = recursive_attention(*arrays[:, None], mask[None], **SIZES)
      return (attended[0] ** 2 * seen).sum()

    return jax.grad(energy)(arrays)

  def energy(step):
    attended = plain_attention(*(many + step * direction), mask, **SIZES)
    return (attended**2 * seen).sum()

  slope = (energy(1e-5) - energy(-1e-5)) / 2e-5
  found = (gradient(many, mask, seen) * direction).sum()
  np.testing.assert_allclose(found, slope, rtol=1e-4)


def temporary_bytes(function, length):
  arrays = jax.ShapeDtypeStruct((3, 1, length, 1, 8), jnp.float32)
  program = jax.jit(function).lower(arrays).compile()
  return program.memory_analysis().temp_size_in_bytes


def test_memory_grows_like_the_length_far_below_dense_attention():
  """Of gradients, with the default chunks; dense scores are 256 MiB."""

  def gradient(attend):
    return jax.grad(lambda arrays: attend(*arrays).sum())

  half, whole = (
    temporary_bytes(gradient(recursive_attention), length)
    for length in (4096, 8192)
  )
  dense = temporary_bytes(gradient(embedcomp.dense_attention), 8192)
  assert whole < 2.1 * half
  assert dense >= 4 * 8192**2
  assert whole < dense / 20


@pytest.mark.parametrize('chunks_per_step', [1, 3, 14, 10**6])
def test_steps_of_any_size_give_the_same(rng, chunks_per_step):
  """Parts of a head, one or several heads at the same time."""
  arrays = texts(rng, length=35, batch=3)  # 6 chunks with padding
  found = recursive_attention(*arrays, **SIZES, chunks_per_step=chunks_per_step)
  wanted = plain_attention(*arrays, **SIZES)
  np.testing.assert_allclose(found, wanted, atol=2e-6)


# Dropout


@jax.jit
def dropped(arrays, keys):
  """[K, B, T, N, H], an output for each key."""

  def attend(key):
    return recursive_attention(
      *arrays, **SIZES, dropout_rate=0.25, dropout_key=key
    )

  return jax.vmap(attend)(keys)


KEYS = jax.random.split(jax.random.key(0), 400)


def test_the_mean_of_many_dropouts_is_the_output(rng):
  arrays = texts(rng)
  outputs = np.asarray(dropped(arrays, KEYS))
  deviations = outputs.std(axis=0) / len(KEYS) ** 0.5
  wanted = plain_attention(*arrays, **SIZES)
  assert (abs(outputs.mean(axis=0) - wanted) < 4.5 * deviations).all()


def test_a_dropout_is_that_of_its_key(rng):
  arrays = texts(rng)
  outputs = np.asarray(dropped(arrays, KEYS))
  np.testing.assert_array_equal(dropped(arrays, KEYS), outputs)
  others = outputs[1:]
  assert (abs(others - outputs[0]).max(axis=(2, 4)) > 1e-3).all()  # each token


def test_at_a_rate_of_zero_there_is_no_dropout(rng):
  def program(**kwargs):
    run = functools.partial(recursive_attention, **SIZES, **kwargs)
    return jax.jit(run).lower(*texts(rng)).as_text()

  assert program(dropout_key=jax.random.key(0)) == program()


def test_gradients_are_those_of_what_was_left_out(rng):
  arrays = texts(rng)
  cotangent = texts(rng)[0]

  @jax.jit
  def total_and_gradient(arrays):
    def total(arrays):
      key = jax.random.key(3)
      attended = recursive_attention(
        *arrays, **SIZES, dropout_rate=0.25, dropout_key=key
      )
      return (attended * cotangent).sum()

    return jax.value_and_grad(total)(arrays)

  total, gradient = total_and_gradient(arrays)
  # The output is linear in the values, so that no difference is small.
  np.testing.assert_allclose((gradient[2] * arrays[2]).sum(), total, rtol=1e-5)
  others = np.concatenate([arrays[:2], texts(rng)[2:]])
  total = total_and_gradient(others)[0]
  np.testing.assert_allclose((gradient[2] * others[2]).sum(), total, rtol=1e-5)
  for number in range(2):
    norm = np.linalg.norm(gradient[number])
    step = np.zeros_like(arrays)
    step[number] = 0.05 * gradient[number] / norm
    plus, minus = (
      total_and_gradient(arrays + sign * step)[0] for sign in (1, -1)
    )
    np.testing.assert_allclose((plus - minus) / 0.1, norm, rtol=5e-3)


# Errors


@pytest.mark.parametrize(
  ('sizes', 'rule'),
  [
    ({'chunk_size': 0}, 'chunk_size must be .* at least 1, got 0'),
    ({'num_summaries': 3}, 'num_summaries must divide chunk_size 8, got 3'),
    ({'chunks_per_step': 0}, 'chunks_per_step must be .* at least 1, got 0'),
    ({'num_levels': -1}, 'num_levels must be .* at least 0, got -1'),
    ({'shift': 8}, 'shift must be below chunk_size 8, got 8'),
    ({'num_global': 1.0}, r'num_global must be an int .* got 1\.0'),
  ],
)
def test_errors_name_the_value_and_the_rule(rng, sizes, rule):
  with pytest.raises(ValueError, match=rule):
    recursive_attention(*texts(rng), **{**SIZES, **sizes})


@pytest.mark.parametrize(
  ('learned', 'rule'),
  [
    ({'anchor': (4, 2)}, r'anchor must be .*\[2, 4\], got \[4, 2\]'),
    ({'level_bias': (3, 4)}, r'level_bias must .* of 2 heads, got \[3, 4\]'),
    ({'level_bias': (0, 2)}, r'level_bias must .* at least .*got \[0, 2\]'),
    ({'level_bias': (2,)}, r'level_bias must be \[levels, .* got \[2\]'),
  ],
)
def test_learned_params_must_be_those_of_the_heads(rng, learned, rule):
  params = {name: np.zeros(shape) for name, shape in learned.items()}
  with pytest.raises(ValueError, match=rule):
    recursive_attention(*texts(rng), learned=SummaryParams(**params), **SIZES)


def test_a_size_of_another_name_is_refused(rng):
  with pytest.raises(TypeError, match='chunk_sise'):
    recursive_attention(*texts(rng), chunk_sise=8)


def test_texts_on_several_devices_stay_there():
  mesh = jax.sharding.Mesh(np.array(jax.devices()), ('batch',))
  spec = jax.sharding.PartitionSpec(None, 'batch')
  shape = jax.ShapeDtypeStruct(
    (3, len(jax.devices()), 40, 2, 4),
    np.float32,
    sharding=jax.sharding.NamedSharding(mesh, spec),
  )

  def loss(arrays):
    attended = recursive_attention(
      *arrays, chunk_size=8, num_summaries=2, chunks_per_step=10**6
    )
    return jnp.square(attended).sum()

  program = jax.jit(jax.grad(loss)).lower(shape).compile().as_text()
  assert not re.search('all-(gather|reduce|to-all)', program)


@pytest.mark.parametrize('mask_spec', [('batch',), ()])
def test_the_axes_of_a_mesh_may_be_explicit(rng, mask_spec):
  """Outputs and gradients are sharded like the texts, and are the same."""
  arrays = texts(rng, batch=4)
  mask = np.arange(23)[None].repeat(4, axis=0) < 20
  explicit = (jax.sharding.AxisType.Explicit,)
  mesh = jax.make_mesh((4,), ('batch',), axis_types=explicit)

  @jax.jit
  def attend_and_pull(arrays, mask):
    def attend(*arrays):
      return recursive_attention(*arrays, mask, **SIZES)

    attended, pull = jax.vjp(attend, *arrays)
    return attended, pull(attended)

  wanted = attend_and_pull(tuple(arrays), mask)
  with jax.set_mesh(mesh):
    put = functools.partial(jax.device_put, device=jax.P('batch'))
    there = tuple(map(put, arrays)), jax.device_put(mask, jax.P(*mask_spec))
    found = attend_and_pull(*there)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
    assert jax.typeof(one).sharding.spec[0] == 'batch'
    np.testing.assert_allclose(one, other, atol=1e-6)
