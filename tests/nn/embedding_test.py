"""Tests of the Flax module around compressed embeddings."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import embedcomp
from embedcomp import Group, GroupedEmbed, Scheme, methods
from embedcomp.methods import forms
from embedcomp.nn import to_params, to_variables
from embedcomp.table import group_params, read
from embedcomp.table.order import order_from_groups

SCHEME = Scheme(
  12,
  (
    Group(5, methods.Dense('int8')),
    Group(9, methods.LowRank(3, 'int4', 'int8')),
    Group(20, methods.ProductQuantization(3, 8, 'bfloat16')),
    Group(16, methods.DifferentiableNearest(2, 4, 'int8')),
  ),
  order='stored',
)
DENSE = Scheme(12, (Group(50, methods.Dense()),))


def mixed_params(seed: int = 0):
  groups = np.random.default_rng(seed).permutation(
    np.repeat(np.arange(4), [5, 9, 20, 16])
  )
  order = order_from_groups(groups)
  return group_params.init(jax.random.key(seed), SCHEME, order)


def test_one_dense_group_is_flax_embed():
  module, reference = GroupedEmbed(DENSE), nn.Embed(50, 12)
  variables = module.init(jax.random.key(0), jnp.zeros(1, int))
  table = variables['params']['group_0']['table']
  plain = {'params': {'embedding': table}}
  ids = jnp.array([[3, 49], [0, 3]])
  query = jax.random.normal(jax.random.key(1), (2, 12))
  assert set(variables) == {'params'}
  assert (module.num_embeddings, module.features) == (
    reference.num_embeddings,
    reference.features,
  )
  np.testing.assert_array_equal(
    module.apply(variables, ids), reference.apply(plain, ids)
  )
  # Sums of whole numbers are exact in whatever order a program takes them.
  table, query = (jnp.round(9 * array) for array in (table, query))
  np.testing.assert_array_equal(
    module.apply(
      {'params': {'group_0': {'table': table}}}, query, method='attend'
    ),
    reference.apply({'params': {'embedding': table}}, query, method='attend'),
  )


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_results_have_the_dtype_asked_for(dtype):
  module, reference = GroupedEmbed(DENSE, dtype), nn.Embed(50, 12, dtype)
  variables = module.init(jax.random.key(0), jnp.zeros(1, int))
  plain = {'params': {'embedding': variables['params']['group_0']['table']}}
  ids = jnp.arange(50)
  words = module.apply(variables, ids)
  assert words.dtype == dtype
  np.testing.assert_array_equal(words, reference.apply(plain, ids))
  assert module.apply(variables, words, method='attend').dtype == dtype


def test_trainable_and_stored_variables_read_the_same():
  params = mixed_params()
  module, variables = GroupedEmbed.from_params(SCHEME, params)
  stored = group_params.quantize_params(SCHEME, params)
  assert 'queries' in variables['params']['group_3']
  assert stored['group_3']['codes'].values.dtype == jnp.uint8
  assert stored['group_0']['table'].values.dtype == jnp.int8
  ids = jnp.arange(50)
  for given in (to_variables(stored), {'params': stored}, {'params': params}):
    np.testing.assert_array_equal(
      module.apply(variables, ids), module.apply(given, ids)
    )
  np.testing.assert_array_equal(
    module.apply(variables, ids), read.lookup(SCHEME, params, ids)
  )


@pytest.mark.parametrize('is_stored', [False, True])
def test_variables_and_params_are_one_to_one(is_stored):
  params = mixed_params()
  if is_stored:
    params = group_params.quantize_params(SCHEME, params)
  variables = to_variables(params)
  trainable = jax.tree.leaves(variables['params'])
  assert all(leaf.dtype == jnp.float32 for leaf in trainable)
  assert forms.is_stored(variables['stored'])
  assert is_stored == (variables['params'] == {})
  back = to_params(variables)
  assert jax.tree.structure(back) == jax.tree.structure(params)
  jax.tree.map(np.testing.assert_array_equal, back, params)


def test_init_inside_jit_makes_what_grouped_init_makes():
  module = GroupedEmbed(SCHEME)
  variables = jax.jit(module.init)(jax.random.key(3), jnp.zeros((2, 2), int))
  expected = jax.eval_shape(
    lambda: group_params.init(jax.random.key(3), SCHEME)
  )
  shapes = jax.tree.map(lambda x: (x.shape, x.dtype), to_params(variables))
  assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), expected)
  assert set(variables) == {'params', 'stored'}


class TiedModel(nn.Module):
  """A language model of nothing but an embedding and its transpose."""

  scheme: Scheme

  def setup(self):
    self.embed = GroupedEmbed(self.scheme)

  def __call__(self, ids):
    return self.embed.attend(self.embed(ids))


def test_wrapping_adds_the_name_of_the_layer_and_nothing_else():
  variables = TiedModel(SCHEME).init(jax.random.key(0), jnp.zeros(1, int))
  assert set(variables['params']) == {'embed'}
  assert set(variables['stored']) == {'embed'}
  inner = {name: tree['embed'] for name, tree in variables.items()}
  plain = GroupedEmbed(SCHEME).init(jax.random.key(0), jnp.zeros(1, int))
  assert jax.tree.structure(inner) == jax.tree.structure(plain)


def test_training_a_tied_model_lowers_the_loss_and_keeps_buffers():
  model = TiedModel(SCHEME)
  ids = jnp.arange(50)
  variables = model.init(jax.random.key(0), ids)
  tx = optax.adam(0.03)

  def loss_fn(params):
    logits, sown = model.apply(
      {'params': params, 'stored': variables['stored']},
      ids,
      mutable='losses',
    )
    task = optax.softmax_cross_entropy_with_integer_labels(logits, ids).mean()
    return task + 0.25 * sown['losses']['embed']['commitment'][0]

  @jax.jit
  def step(params, opt_state):
    loss, gradients = jax.value_and_grad(loss_fn)(params)
    updates, opt_state = tx.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss

  params, opt_state = variables['params'], tx.init(variables['params'])
  losses = []
  for _ in range(30):
    params, opt_state, loss = step(params, opt_state)
    losses.append(float(loss))
  assert losses[-1] < 0.7 * losses[0]
  # The trained layer can be stored and still reads the same.
  trained = to_params(
    {
      'params': params['embed'],
      'stored': variables['stored']['embed'],
    }
  )
  stored = group_params.quantize_params(SCHEME, trained)
  np.testing.assert_array_equal(
    read.lookup(SCHEME, stored, ids), read.lookup(SCHEME, trained, ids)
  )


def test_padding_is_zero_and_has_no_gradient():
  module = GroupedEmbed(DENSE, padding_id=2)
  variables = module.init(jax.random.key(0), jnp.zeros(1, int))
  ids = jnp.array([1, 2, 2])
  query = jax.random.normal(jax.random.key(1), (4, 12))

  def loss_fn(variables):
    words = module.apply(variables, ids)
    logits = module.apply(variables, query, method='attend')
    return (words - 1).sum() + jnp.square(logits).sum(), (words, logits)

  gradients, (words, logits) = jax.grad(loss_fn, has_aux=True)(variables)
  table = variables['params']['group_0']['table']
  np.testing.assert_array_equal(words[0], table[1])
  np.testing.assert_array_equal(words[1:], 0)
  np.testing.assert_array_equal(logits[:, 2], 0)
  assert (logits[:, 1] != 0).all()
  by_word = np.abs(gradients['params']['group_0']['table']).sum(1)
  assert by_word[2] == 0
  assert (np.delete(by_word, 2) > 0).all()


@pytest.mark.parametrize('padding_id', [-1, 50])
def test_padding_outside_of_the_vocabulary_is_refused(padding_id):
  with pytest.raises(ValueError, match=rf'\[0, 50\), got {padding_id}'):
    GroupedEmbed(DENSE, padding_id=padding_id)


def test_commitment_is_the_mean_over_real_words():
  params = mixed_params()
  module, variables = GroupedEmbed.from_params(SCHEME, params, padding_id=0)
  ids = jnp.array([[0, 7], [49, 30]])
  _, sown = module.apply(variables, ids, mutable=['losses'])
  terms = read.commitment(SCHEME, params, ids)
  np.testing.assert_allclose(
    sown['losses']['commitment'][0], terms.reshape(-1)[1:].mean(), rtol=1e-6
  )
  stored = to_variables(group_params.quantize_params(SCHEME, params))
  assert module.apply(stored, ids, mutable=['losses'])[1] == {}


def test_no_optimizer_moves_what_is_stored():
  stored = group_params.quantize_params(SCHEME, mixed_params())
  module, variables = GroupedEmbed.from_params(SCHEME, stored)
  ids, optimizer = jnp.arange(50), optax.adam(0.1)

  def loss_fn(params):
    return jnp.square(module.apply(variables | {'params': params}, ids)).sum()

  params = variables['params']
  before, state = loss_fn(params), optimizer.init(params)
  for _ in range(5):
    updates, state = optimizer.update(jax.grad(loss_fn)(params), state, params)
    params = optax.apply_updates(params, updates)
  assert params == {}
  assert loss_fn(params) == before


@pytest.mark.parametrize('is_stored', [False, True])
@pytest.mark.parametrize('collection', ['params', 'stored'])
def test_a_missing_collection_is_named(collection, is_stored):
  params = mixed_params()
  if is_stored:
    params = group_params.quantize_params(SCHEME, params)
  module, variables = GroupedEmbed.from_params(SCHEME, params)
  alone = {collection: variables[collection]}
  if is_stored and collection == 'stored':
    module.apply(alone, jnp.array([1]))
    return
  for method, given in (('__call__', [1]), ('attend', jnp.ones(12))):
    with pytest.raises(ValueError, match="both collections, 'params' and 'st"):
      module.apply(alone, given, method=method)


def test_arrays_in_both_forms_at_once_are_refused():
  params = mixed_params()
  stored = to_variables(group_params.quantize_params(SCHEME, params))
  both = {'params': to_variables(params)['params']} | {
    'stored': stored['stored']
  }
  with pytest.raises(ValueError, match='table is among the trainable params'):
    GroupedEmbed(SCHEME).apply(both, jnp.array([1]))


def test_a_table_of_another_vocabulary_is_refused():
  params = {'group_0': {'table': jnp.zeros((40, 12))}}
  message = r'group_0, dense: table must be \[50, 12\], got \[40, 12\]'
  with pytest.raises(ValueError, match=message):
    jax.jit(GroupedEmbed(DENSE).apply)({'params': params}, jnp.array([45]))


def test_works_under_nnx():
  module = GroupedEmbed(SCHEME)
  ids = jnp.arange(50)
  model = nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0)).lazy_init(ids)
  state = nnx.to_pure_dict(nnx.state(model, nnx.Param))
  assert set(state) == {f'group_{index}' for index in range(4)}

  @nnx.jit
  def gradients_of(model):
    return nnx.grad(lambda model: jnp.square(model(ids)).sum())(model)

  gradients = nnx.to_pure_dict(gradients_of(model))
  assert jax.tree.structure(gradients) == jax.tree.structure(state)
  assert np.abs(gradients['group_1']['basis']['values']).sum() > 0


def test_works_from_bare_jax():
  params = mixed_params()
  module, variables = GroupedEmbed.from_params(SCHEME, params)
  ids = jnp.arange(50).reshape(5, 10)
  trainable, stored = forms.split_params(params)

  def bare(trainable):
    params = forms.merge_params(trainable, stored)
    return jnp.square(embedcomp.lookup(SCHEME, params, ids)).sum()

  def flax(trainable):
    words = module.apply(dict(variables, params=trainable), ids)
    return jnp.square(words).sum()

  expected = jax.grad(bare)(trainable)
  jax.tree.map(
    np.testing.assert_array_equal, jax.grad(flax)(trainable), expected
  )


def test_sharded_batches_equal_a_single_device():
  mesh = jax.make_mesh((4,), ('data',), axis_types=(AxisType.Auto,))
  model = TiedModel(SCHEME)
  ids = jnp.arange(48).reshape(8, 6)
  variables = model.init(jax.random.key(0), ids)

  def loss_fn(params, buffers, ids):
    logits = model.apply({'params': params, 'stored': buffers}, ids)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, ids)
    return losses.mean(), logits

  step = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
  expected = step(variables['params'], variables['stored'], ids)
  replicated = NamedSharding(mesh, PartitionSpec())
  split = NamedSharding(mesh, PartitionSpec('data'))
  placed = jax.device_put(variables, replicated)
  (loss, logits), gradients = step(
    placed['params'], placed['stored'], jax.device_put(ids, split)
  )
  assert len(logits.sharding.device_set) == 4
  for found, one in zip(
    jax.tree.leaves(((loss, logits), gradients)), jax.tree.leaves(expected)
  ):
    # Sums in another order are rounded as the largest of their terms are.
    atol = 1e-6 * np.abs(one).max()
    np.testing.assert_allclose(found, one, rtol=0, atol=atol)


def test_a_compressed_table_with_padding(rng):
  table = rng.normal(size=(400, 8)).astype(np.float32)
  scheme, params = embedcomp.compress(
    table, 400 // np.arange(1, 401), budget='8x', progress=False
  )
  module, variables = GroupedEmbed.from_params(scheme, params, padding_id=0)
  assert module.scheme.num_bytes <= table.nbytes // 8
  words = module.apply(variables, jnp.arange(400))
  assert np.square(words[1:] - table[1:]).mean() < 0.6
  np.testing.assert_array_equal(words[0], 0)
  trainable = group_params.dequantize_params(
    module.scheme, to_params(variables)
  )
  np.testing.assert_array_equal(
    module.apply(to_variables(trainable), jnp.arange(400)), words
  )
