"""Params of a scheme: conversion by group, checks of what is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import embedcomp
from embedcomp import Group, Scheme, Stored, methods
from embedcomp.methods import forms
from embedcomp.table import group_params

SCHEME = Scheme(
  8,
  (
    Group(4, methods.Dense('float16')),
    Group(6, methods.LowRank(3, 'int8', 'bfloat16')),
    Group(20, methods.ProductQuantization(2, 5)),
    Group(10, methods.DifferentiableSoftmax(2, 5, 'int8')),
  ),
  order='stored',
)
IDS = np.arange(40)


@pytest.fixture(scope='module')
def params():
  return embedcomp.init(jax.random.key(0), SCHEME)


@pytest.fixture(scope='module')
def stored(params):
  return embedcomp.quantize_params(SCHEME, params)


def read_whole(params):
  return np.asarray(embedcomp.reconstruct(SCHEME, params))


def test_each_group_is_converted_once_whatever_its_form(params, stored):
  assert forms.is_stored(stored)
  words = read_whole(params)
  np.testing.assert_array_equal(read_whole(stored), words)
  half = params | {'group_1': stored['group_1']}
  np.testing.assert_array_equal(read_whole(half), words)
  again = embedcomp.quantize_params(SCHEME, half)
  masters = embedcomp.dequantize_params(SCHEME, half)
  assert masters['group_2'] is not half['group_2']
  assert jax.tree.structure(again) == jax.tree.structure(stored)
  assert jax.tree.structure(masters) == jax.tree.structure(params)
  for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(stored)):
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def without(tree, *keys):
  """A copy of nested params that lacks one leaf."""
  copy = dict(tree)
  if len(keys) == 1:
    del copy[keys[0]]
  else:
    copy[keys[0]] = without(copy[keys[0]], *keys[1:])
  return copy


FUNCTIONS = {
  'lookup': lambda scheme, params: embedcomp.lookup(scheme, params, IDS),
  'logits': lambda scheme, params: embedcomp.logits(
    scheme, params, np.ones(8, np.float32)
  ),
  'reconstruct': embedcomp.reconstruct,
  'quantize_params': embedcomp.quantize_params,
  'dequantize_params': embedcomp.dequantize_params,
}
EACH = pytest.mark.parametrize('name', FUNCTIONS)


@EACH
@pytest.mark.parametrize(
  ('keys', 'message'),
  [
    (('order',), r"params must have .*'order'\], got .*both collections"),
    (('group_2',), r"params must have .*'group_2'.*both collections"),
    (('group_2', 'codes'), r"group_2, pq.*\['codes', 'codebooks'\], got"),
    (('group_3', 'codebooks'), r"group_3, dpq_sx.*'codebooks'"),
  ],
)
def test_missing_arrays_are_named(name, keys, message, params, stored):
  for form in (params, stored):
    with pytest.raises(ValueError, match=message):
      FUNCTIONS[name](SCHEME, without(form, *keys))


@EACH
@pytest.mark.parametrize('is_traced', [False, True])
def test_params_of_another_scheme_are_refused(name, is_traced, params, stored):
  groups = (Group(5, methods.Dense('float16')), *SCHEME.groups[1:])
  other = Scheme(8, groups, order='stored')

  def call(params):
    return FUNCTIONS[name](other, params)

  message = r'group_0, dense.*: table must be \[5, 8\], got \[4, 8\]'
  for form in (params, stored):
    with pytest.raises(ValueError, match=message):
      (jax.jit(call) if is_traced else call)(form)


def test_orders_of_another_vocabulary_are_refused(params):
  cut = params | {'order': forms.Stored(jnp.arange(39))}
  with pytest.raises(ValueError, match=r'order must be \[40\], got \[39\]'):
    embedcomp.lookup(SCHEME, cut, IDS)


def test_storages_of_another_scheme_are_refused(stored):
  groups = (Group(4, methods.Dense('bfloat16')), *SCHEME.groups[1:])
  other = Scheme(8, groups, order='stored')
  with pytest.raises(ValueError, match='table must be bfloat16, got float16'):
    embedcomp.lookup(other, stored, IDS)


def test_arguments_in_another_order_are_named(params):
  with pytest.raises(TypeError, match=r'got dict.*\(scheme, params, ids\)'):
    embedcomp.lookup(params, SCHEME, IDS)
  with pytest.raises(TypeError, match=r'int64\[40\].*\(scheme, params, ids\)'):
    embedcomp.lookup(SCHEME, IDS, params)
  with pytest.raises(TypeError, match=r'\(scheme, params, hidden\)'):
    embedcomp.logits(params, SCHEME, np.ones(8))
  with pytest.raises(TypeError, match=r'\(scheme, params\)'):
    embedcomp.reconstruct(params, SCHEME)
  with pytest.raises(TypeError, match=r'\(scheme, params\)'):
    embedcomp.quantize_params(params, SCHEME)
  with pytest.raises(TypeError, match=r'\(key, scheme, order\)'):
    embedcomp.init(SCHEME, jax.random.key(0))


def test_codes_that_are_plain_arrays_are_refused(params):
  codes = params['group_2']['codes'].values
  plain = params | {'group_2': params['group_2'] | {'codes': codes}}
  with pytest.raises(ValueError, match='codes must be Stored codes, got uint8'):
    embedcomp.lookup(SCHEME, plain, IDS)


def test_params_are_checked_again_where_they_differ():
  scheme = Scheme(4, (Group(3, methods.Dense('int8')),))
  params = embedcomp.quantize_params(
    scheme, embedcomp.init(jax.random.key(0), scheme)
  )
  table = params['group_0']['table']
  for _ in range(2):  # what was right, or wrong, before changes nothing
    group_params.check_params(scheme, params)
    for wrong in (
      Stored(table.values.astype(np.int32), table.scale),
      Stored(table.values[:2], table.scale),
      Stored(table.values),
      Stored(table.values.tolist(), table.scale),
    ):
      with pytest.raises(ValueError, match='table'):
        group_params.check_params(scheme, {'group_0': {'table': wrong}})
