"""A table decoded once reads as the compact one, up to its rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import embedcomp
from embedcomp import Group, GroupedEmbed, Scheme, Stored, methods
from embedcomp.table import order as order_lib
from embedcomp.table import resident_form
from tests.table.jaxprs import dot_precisions

NUM_WORDS, FEATURES = 61, 12
GRADED = methods.GradedCodes(5, '2x1+3x2', 8, 'int8', 'int8')
GROUPS = {
  'dense': [methods.Dense('int8')],
  'menu': [
    methods.Dense('int4'),
    methods.ProductQuantization(4, 8, 'int8'),
    methods.LowRank(3),
    methods.Drop(),
  ],
  'graded': [GRADED, methods.GradedCodes(5, '', 1, 'int8', 'int8')],
  'hashed': [methods.Dense('float16'), methods.Hashed(7)],
}


def make(name: str):
  """A scheme of the groups in scrambled order, and its stored params."""
  found = GROUPS[name]
  sizes = [10] * (len(found) - 1)
  sizes.append(NUM_WORDS - sum(sizes))
  groups = tuple(map(Group, sizes, found))
  scheme = Scheme(FEATURES, groups, 'stored', 'bfloat16')
  groups_of_ids = np.repeat(np.arange(len(sizes)), sizes)
  np.random.default_rng(0).shuffle(groups_of_ids)
  order = order_lib.order_from_groups(groups_of_ids)
  params = embedcomp.init(jax.random.key(1), scheme, order)
  return scheme, embedcomp.quantize_params(scheme, params)


@pytest.fixture(params=GROUPS)
def compact(request):
  return make(request.param)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  monkeypatch.setattr(resident_form, 'TOKENS_BLOCK', 16)  # the last overlaps


def rows_of(scheme, params):
  return np.asarray(embedcomp.reconstruct(scheme, params))


def test_float32_rows_are_those_of_the_compact_table(compact):
  found = rows_of(*embedcomp.resident(*compact, 'float32'))
  np.testing.assert_allclose(found, rows_of(*compact), atol=1e-6)


@pytest.mark.parametrize(
  ('storage', 'steps'), [('int8', 127), ('int4', 7), ('float16', 2**11)]
)
def test_rounding_moves_a_number_by_half_a_step(compact, storage, steps):
  expected = rows_of(*compact)
  found = rows_of(*embedcomp.resident(*compact, storage))
  largest = abs(expected).max(axis=1, keepdims=True)
  if storage == 'int4':  # the best scale may cut off numbers far out
    error = np.linalg.norm(found - expected, axis=1)
    assert (error <= 0.5 * largest[:, 0] / steps * np.sqrt(FEATURES)).all()
    return
  # Scales have 8 bits, and int8 may cut off a tenth of the range.
  bound = {'int8': 0.51 + 12.7, 'float16': 1.0}[storage] * largest / steps
  assert (abs(found - expected) <= bound + 1e-7).all()
  assert np.square(found - expected).mean() <= np.square(largest / steps).mean()


def test_rows_of_int8_stay_the_same_to_the_bit():
  scheme, params = make('dense')
  made, rows = embedcomp.resident(scheme, params)
  np.testing.assert_array_equal(rows_of(made, rows), rows_of(scheme, params))
  # Once more changes nothing.
  _, again = embedcomp.resident(made, rows)
  jax.tree.map(np.testing.assert_array_equal, rows, again)


def test_trainable_params_are_decoded_as_they_are_read():
  scheme, params = make('menu')
  trainable = embedcomp.dequantize_params(scheme, params)
  found = embedcomp.resident(scheme, trainable)[1]
  expected = embedcomp.resident(scheme, params)[1]
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_result_is_a_table_of_its_own(compact, tmp_path):
  scheme, params = embedcomp.resident(*compact)
  assert (scheme.order, scheme.dtype) == ('identity', 'bfloat16')
  assert scheme.num_bytes == NUM_WORDS * (FEATURES + 2)
  leaves = jax.tree.leaves(params)
  assert sum(leaf.nbytes for leaf in leaves) == scheme.num_bytes
  assert all(isinstance(leaf, jax.Array) for leaf in leaves)
  assert isinstance(params['group_0']['table'], Stored)
  embedcomp.save(tmp_path / 'rows.safetensors', scheme, params)
  assert embedcomp.load(tmp_path / 'rows.safetensors')[0] == scheme


def test_reading_functions_agree(compact):
  scheme, params = embedcomp.resident(*compact)
  table = rows_of(scheme, params)
  ids = np.array([[60, 0], [17, 17]])
  module, variables = GroupedEmbed.from_params(scheme, params)
  np.testing.assert_array_equal(module.apply(variables, ids), table[ids])
  np.testing.assert_array_equal(
    embedcomp.lookup(scheme, params, ids), table[ids]
  )
  hidden = np.random.default_rng(0).normal(size=(3, FEATURES))
  hidden = hidden.astype(np.float32)
  np.testing.assert_allclose(
    embedcomp.logits(scheme, params, hidden), hidden @ table.T, atol=1e-5
  )


def test_a_lookup_only_copies_rows():
  scheme, params = embedcomp.resident(*make('graded'))

  def read(params, ids):
    return embedcomp.lookup(scheme, params, ids)

  assert not dot_precisions(read, params, jnp.arange(4))


def test_words_are_decoded_block_by_block():
  scheme, params = make('graded')
  dense, ids = methods.Dense('int8'), jnp.arange(16)
  program = resident_form._rows.lower(scheme, dense, params, ids).as_text()
  assert f'16x{FEATURES}xf32' in program
  assert f'{NUM_WORDS}x{FEATURES}xf32' not in program


def test_unknown_storage_and_swapped_arguments_are_refused(compact):
  scheme, params = compact
  with pytest.raises(ValueError, match="got 'int2'"):
    embedcomp.resident(scheme, params, 'int2')
  with pytest.raises(TypeError, match='scheme, params'):
    embedcomp.resident(params, scheme)
