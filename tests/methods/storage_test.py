"""Bit packing, quantization and the two forms of stored arrays."""

import dataclasses

import hypothesis
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp.methods import bit_packing, forms, gather, rounding, storage


@st.composite
def bits_and_values(draw):
  bits = draw(st.integers(0, 32))
  values = st.integers(0, 2**bits - 1)
  return bits, draw(st.lists(values, max_size=40))


@hypothesis.given(bits_and_values())
def test_pack_bits_writes_one_little_endian_number(case):
  bits, values = case
  number = sum(value << (bits * place) for place, value in enumerate(values))
  num_bytes = -(-bits * len(values) // 8)
  packed = bit_packing.pack_bits(np.array(values, np.uint32), bits)
  assert packed.dtype == np.uint8
  assert packed.tobytes() == number.to_bytes(num_bytes, 'little')
  unpacked = bit_packing.unpack_bits(packed, bits, len(values))
  assert unpacked.tolist() == values


def test_unpack_bits_refuses_other_lengths():
  with pytest.raises(ValueError, match='3 codes of 3 bits take 2 bytes, got 3'):
    bit_packing.unpack_bits(np.zeros(3, np.uint8), 3, 3)


def test_unpack_bits_refuses_unused_bits():
  with pytest.raises(ValueError, match='unused bits'):
    bit_packing.unpack_bits(np.array([0, 2], np.uint8), 3, 3)


@pytest.mark.parametrize(
  ('num', 'bits'), [(0, 0), (1, 0), (2, 1), (3, 2), (16, 4), (17, 5), (257, 9)]
)
def test_code_bits(num, bits):
  assert bit_packing.code_bits(num) == bits


def test_unknown_storage_is_refused():
  with pytest.raises(ValueError, match="got 'float64'"):
    storage.Factor('x', (2, 2), 'float64')


def test_quantize_by_hand():
  values = jnp.array([0.24, 0.26, -0.74, 9.0, -9.0])
  found = rounding.quantize(values, jnp.float32(0.5), bits=4)
  np.testing.assert_array_equal(found, [0, 1, -1, 7, -7])


def test_straight_through_keeps_the_number_and_passes_the_gradient():
  hard, soft = jnp.array([1e8, 3.0]), jnp.array([0.1, -1e8])

  def found(soft):
    return rounding.straight_through(hard, soft)

  value, pull = jax.vjp(found, soft)
  np.testing.assert_array_equal(value, hard)
  np.testing.assert_array_equal(pull(jnp.array([2.0, 5.0]))[0], [2, 5])


def test_read_passes_gradients_straight_through():
  leaf = {
    'values': jnp.array([[0.24, 0.4, 9.0, -9.0]]),
    'scale': jnp.array([[0.5]]),
  }
  probe = jnp.array([[2.0, 3.0, 5.0, 7.0]])
  grads = jax.grad(lambda x: (storage.read(x, 'int4') * probe).sum())(leaf)
  # Inside the range as if unrounded; nothing where values are clipped.
  np.testing.assert_allclose(grads['values'], [[2, 3, 0, 0]], atol=1e-6)
  # LSQ, equation 3: round(v/s) - v/s inside, the limit where clipped.
  ratios = [0 - 0.48, 1 - 0.8, 7, -7]
  np.testing.assert_allclose(
    grads['scale'], [[np.dot(ratios, [2, 3, 5, 7])]], rtol=1e-5
  )


@pytest.mark.parametrize('kind', ['bfloat16', 'float16', 'int8'])
def test_read_does_not_round_gradients(kind):
  part = storage.Factor('x', (1, 3), kind)
  leaf = part.trainable(np.array([[0.3, -0.2, 0.1]]))
  probe = jnp.array([[1.0001, 2.0003, 70000.5]])
  grads = jax.grad(lambda x: (storage.read(x, kind) * probe).sum())(leaf)
  values = grads['values'] if kind == 'int8' else grads
  np.testing.assert_allclose(values, probe, rtol=1e-7)


@pytest.mark.parametrize('kind', storage.STORAGES)
@pytest.mark.parametrize('scale_axes', [(0,), (1,), (0, 2)])
def test_forms_agree_and_rows_are_part_of_the_whole(kind, scale_axes, rng):
  part = storage.Factor('x', (7, 4, 3), kind, scale_axes)
  values = rng.normal(size=part.shape).astype(np.float32)
  leaf = part.trainable(values)
  stored = part.quantize(leaf)
  read = np.asarray(storage.read(leaf, kind))
  np.testing.assert_array_equal(read, storage.read(stored, kind))
  rows = np.array([[6, 0], [2, 2], [1, 6]])
  for form in (leaf, stored):
    found = storage.read(form, kind, rows)
    np.testing.assert_array_equal(found, read[rows])
  limits = {'float32': 0, 'float16': 2e-3, 'bfloat16': 0.02, 'int8': 0.03}
  assert np.abs(read - values).max() <= limits.get(kind, 0.4)


@pytest.mark.parametrize('kind', storage.STORAGES)
@pytest.mark.parametrize('scale_axes', [(0,), (1,)])
def test_round_trips_on_the_host_are_what_is_read_once_stored(
  kind, scale_axes, rng
):
  part = storage.Factor('x', (7, 4), kind, scale_axes)
  values = rng.normal(size=part.shape).astype(np.float32)
  stored = part.quantize(part.trainable(values))
  np.testing.assert_array_equal(
    part.round_trip(values), storage.read(stored, kind)
  )


@pytest.mark.parametrize('kind', storage.STORAGES)
def test_stored_numbers_have_no_gradient(kind, rng):
  part = storage.Factor('x', (7, 4), kind)
  values = rng.normal(size=part.shape).astype(np.float32)
  stored = part.quantize(part.trainable(values))
  leaf = part.dequantize(stored)

  def total(scale, masters):
    found = storage.read(dataclasses.replace(stored, scale=scale), kind)
    return (found * storage.read(masters, kind)).sum()

  scale = stored.scale if part.is_integer else None
  of_scale, of_masters = jax.grad(total, (0, 1))(scale, leaf)
  assert not any(np.any(x != 0) for x in jax.tree.leaves(of_scale))
  assert all(np.any(x != 0) for x in jax.tree.leaves(of_masters))


@pytest.mark.parametrize('kind', storage.INTEGER_BITS)
def test_the_sign_of_a_trained_scale_does_not_matter(kind, rng):
  part = storage.Factor('x', (7, 4), kind)
  leaf = part.trainable(rng.normal(size=part.shape).astype(np.float32))
  turned = dict(leaf, scale=-leaf['scale'])
  read = np.asarray(storage.read(leaf, kind))
  np.testing.assert_array_equal(storage.read(turned, kind), read)
  stored = part.quantize(turned)
  assert (stored.scale > 0).all()
  np.testing.assert_array_equal(storage.read(stored, kind), read)


def test_scales_beat_the_plain_range(rng):
  values = rng.standard_t(df=3, size=(50, 64)).astype(np.float32)
  part = storage.Factor('x', values.shape, 'int4')
  found = np.asarray(storage.read(part.trainable(values), 'int4'))
  largest = np.abs(values).max(axis=1, keepdims=True) / 7
  scale = largest.astype(ml_dtypes.bfloat16).astype(np.float32)
  plain = np.clip(np.round(values / scale), -7, 7) * scale
  error = np.square(values - found).sum(axis=1)
  assert (error <= np.square(values - plain).sum(axis=1) * 1.0001).all()
  assert error.sum() < 0.95 * np.square(values - plain).sum()


def test_bytes_by_hand():
  part = storage.Factor('x', (5, 3), 'int4', (0,), role='table')
  assert part.bytes_by_role() == {'table': 8, 'scales': 10}
  part = storage.Factor('x', (5, 3), 'int8', (0, 1))
  assert part.bytes_by_role() == {'factors': 15, 'scales': 30}
  part = storage.Factor('x', (5, 3), 'float16')
  assert part.bytes_by_role() == {'factors': 30}
  codes = storage.Codes('c', (5, 3), 9)
  assert codes.bytes_by_role() == {'codes': 8}  # 15 codes of 4 bits


def test_int4_is_packed_in_twos_complement():
  part = storage.Factor('x', (3,), 'int4')
  leaf = forms.Stored(
    jnp.array([-7, 7, -1], jnp.int8), jnp.ones(3, jnp.bfloat16)
  )
  tensors = part.pack(leaf)
  assert tensors['x.values'].tolist() == [0x79, 0x0F]
  unpacked = part.unpack(tensors)
  np.testing.assert_array_equal(unpacked.values, leaf.values)


@pytest.mark.parametrize(
  ('num', 'dtype'),
  [(1, 'uint8'), (256, 'uint8'), (257, 'uint16'), (70_000, 'uint32')],
)
def test_codes_take_the_smallest_dtype(num, dtype):
  assert storage.Codes('c', (2,), num).dtype == dtype


def bad_scale(value):
  return {
    'x.values': np.zeros((1, 2), np.int8),
    'x.scale': np.array([[value]], ml_dtypes.bfloat16),
  }


@pytest.mark.parametrize('value', [0, -1, np.inf, np.nan])
def test_unpack_refuses_scales(value):
  part = storage.Factor('x', (1, 2), 'int8')
  with pytest.raises(ValueError, match=r'x\.scale must be positive'):
    part.unpack(bad_scale(value))


def test_unpack_refuses_values():
  part = storage.Factor('x', (1, 2), 'int8')
  tensors = bad_scale(1)
  tensors['x.values'][0, 0] = -128
  with pytest.raises(ValueError, match=r'x\.values must be at least -127'):
    part.unpack(tensors)
  part = storage.Factor('x', (2,))
  with pytest.raises(ValueError, match='x must be finite'):
    part.unpack({'x': np.array([1, np.nan], np.float32)})
  codes = storage.Codes('c', (2,), 3)
  with pytest.raises(ValueError, match='c must be below 3, got 3'):
    codes.unpack({'c': bit_packing.pack_bits(np.array([0, 3]), 2)})


def test_take_scores_equals_products(rng):
  vectors = rng.normal(size=(5, 3)).astype(np.float32)
  hidden = rng.normal(size=(2, 4, 3)).astype(np.float32)
  rows = np.array([4, 0, 0, 2])
  found = gather.take_scores(vectors, rows, hidden)
  np.testing.assert_allclose(found, hidden @ vectors[rows].T, atol=1e-6)
