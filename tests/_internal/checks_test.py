"""Numbers of NumPy are taken wherever those of Python are."""

import dataclasses
import json

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from embedcomp import BertConfig, Group, Scheme, methods
from embedcomp._internal import checks
from embedcomp.attention.block_patterns import Pattern
from embedcomp.compression import frequency, ridge_metric
from embedcomp.compression.weighted_table import WeightedTable


@pytest.mark.parametrize('number', [np.int64(3), np.uint8(3), np.int32(3)])
def test_schemes_of_numpy_s_integers_are_those_of_python_s(number):
  found = Scheme(number * 2, (Group(number, methods.LowRank(number)),))
  plain = Scheme(6, (Group(3, methods.LowRank(3)),))
  assert found == plain
  assert hash(found) == hash(plain)
  assert found.to_json() == plain.to_json()
  assert Scheme.from_json(found.to_json()) == plain


def test_configs_of_numpy_s_integers_are_written_as_json():
  sizes = {'vocab_size': np.int64(30), 'num_hidden_layers': np.int32(2)}
  config = BertConfig(**sizes)
  assert json.dumps(dataclasses.asdict(config))
  assert Pattern(np.int64(8), np.int64(2)) == Pattern(8, 2)


@pytest.mark.parametrize(
  'dtype', [np.float16, ml_dtypes.bfloat16, '>f8', '>i2', np.uint8]
)
def test_numbers_of_any_dtype_are_counts_and_metrics(dtype):
  numbers = np.array([4, 2, 1])
  plain = frequency.expected_counts(numbers)
  given = numbers.astype(dtype)
  np.testing.assert_array_equal(frequency.expected_counts(given), plain)
  table = WeightedTable.create(np.ones((3, 2)), importance=given)
  np.testing.assert_allclose(table.importance, numbers * 3 / 7)
  metric = np.array([[2, 1], [1, 2]])
  np.testing.assert_array_equal(
    ridge_metric(metric.astype(dtype), np.float32(0.5)),
    ridge_metric(metric, 0.5),
  )


def test_arrays_of_jax_are_numbers():
  found = checks.check_numbers('counts', '[V]', jnp.ones(3, jnp.bfloat16))
  assert found.dtype == np.float64


@pytest.mark.parametrize('value', [True, 'a', None, np.nan, 1.01, -1, 1j])
def test_shares_are_numbers_from_0_to_1(value):
  with pytest.raises(ValueError, match=r'mix must be a number in \[0, 1\]'):
    ridge_metric(np.eye(2), value)
  with pytest.raises(ValueError, match=r'likeness must be a number in \[0, 1'):
    frequency.expected_counts([1, 2], likeness=value)


@pytest.mark.parametrize('value', [[[1], [1, 2]], np.eye(2, dtype=bool), 'ab'])
def test_what_is_no_array_of_numbers_is_named(value):
  with pytest.raises(ValueError, match='metric must be '):
    ridge_metric(value, 0.5)


@pytest.mark.parametrize('value', [1, 'yes', np.ones(2)])
def test_order_of_ids_is_known_or_not(value):
  with pytest.raises(ValueError, match='falling_ids must be True, False or N'):
    frequency.expected_counts(vocab_size=3, falling_ids=value)
