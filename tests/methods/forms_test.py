"""Stored arrays as pytrees, and splitting and merging by type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from embedcomp.methods import forms
from embedcomp.methods.forms import Stored

CODES = Stored(np.array([1, 0], np.uint8))
TABLE = Stored(np.ones((2, 3), np.int8), np.ones((2, 1), jnp.bfloat16))
TRAINABLE = {'a': {'scale': np.ones(1), 'values': np.ones(2)}, 'b': np.ones(3)}


def test_a_stored_array_is_a_pytree_that_says_where_to_go():
  assert len(jax.tree.leaves(CODES)) == 1
  assert len(jax.tree.leaves(TABLE)) == 2
  doubled = jax.jit(lambda x: jax.tree.map(lambda y: 2 * y, x))(TABLE)
  assert isinstance(doubled, Stored)
  assert doubled.values.dtype == np.int8
  assert str(TABLE) == (
    'Stored(int8[2, 3], scale bfloat16[2, 1], not trainable: see '
    'embedcomp.split_params)'
  )
  assert 'uint8[2]' in repr(jax.eval_shape(lambda: CODES))
  assert 'Stored(NoneType' in repr(jax.tree.map(lambda _: None, CODES))


def test_the_form_is_the_type_alone():
  assert forms.is_stored({'a': {'b': CODES, 'c': TABLE}})
  assert not forms.is_stored({'a': CODES, 'b': {'c': np.ones(2, np.uint8)}})
  halves = {'values': np.ones(1, np.int8), 'scale': np.ones(1)}
  assert not forms.is_stored({'a': halves})


@pytest.mark.parametrize('kind', [dict, FrozenDict])
def test_merging_reverses_splitting(kind):
  params = {'x': {'c': CODES, **TRAINABLE}, 't': TABLE, 'y': {'d': np.ones(4)}}
  trainable, stored = forms.split_params(kind(params))
  assert trainable == {'x': TRAINABLE, 'y': params['y']}
  assert stored == {'x': {'c': CODES}, 't': TABLE}
  assert forms.merge_params(kind(trainable), kind(stored)) == params
  assert forms.split_params({}) == ({}, {})


def test_an_array_of_both_forms_is_refused():
  with pytest.raises(ValueError, match='a is among the trainable params'):
    forms.merge_params({'x': {'a': np.ones(1)}}, {'x': {'a': CODES}})
  with pytest.raises(ValueError, match='a is among the trainable params'):
    forms.merge_params({'x': TRAINABLE}, {'x': {'a': TABLE}})


def test_what_cannot_be_trained_is_named_with_the_way_out():
  forms.check_trainable(TRAINABLE)
  forms.check_trainable(None)
  with pytest.raises(
    TypeError, match=r"1 stored.*\['x'\]\['c'\].*split_params"
  ):
    forms.check_trainable({'x': {'c': CODES, **TRAINABLE}})
