"""Tests of programs: what is really computed and allocated to read tables.

V, D and the group sizes are numbers that nothing else in the programs equals,
so that a shape in the text of a program tells what an array is.
"""

import functools
import itertools
import math
import re

import jax
import jax.numpy as jnp
import pytest
from jax.lax import Precision

from embedcomp import Group, Scheme, methods
from embedcomp.methods import forms
from embedcomp.table import group_params, read
from tests.methods.method_test import CONFIGS, name_of
from tests.table.jaxprs import dot_precisions

V, D, NUM_TOKENS = 20_011, 52, 37
TABLE_BYTES = V * D * 4


def uniform(method: methods.Method) -> Scheme:
  return Scheme(D, (Group(V, method),))


MIXED = Scheme(
  D,
  (
    Group(2503, methods.LowRank(17, 'int8', 'int8')),
    Group(5003, methods.ProductQuantization(13, 16, 'int8')),
    Group(5009, methods.ProductQuantization(26, 16, 'int8')),
    Group(7496, methods.VectorQuantization(64, 'int8')),
  ),
  order='stored',
)
SCHEMES = {
  'low_rank': uniform(methods.LowRank(7)),
  'low_rank_int8': uniform(methods.LowRank(7, 'int8', 'int8')),
  'pq': uniform(methods.ProductQuantization(13, 16)),
  'pq_rotated': uniform(methods.ProductQuantization(13, 16, rotation=True)),
  'vq_int8': uniform(methods.VectorQuantization(64, 'int8')),
  'rvq': uniform(methods.ResidualQuantization(3, 64)),
  'mixed': MIXED,
}
COMPUTED = {
  'hashed': uniform(methods.Hashed(500, 'int8')),
  'tensor_train': uniform(methods.TensorTrain(5, 'bfloat16')),
  'projected_pq': uniform(methods.ProjectedQuantization(12, 3, 16, 'int8')),
}
TABLES = {
  'dense_bfloat16': uniform(methods.Dense('bfloat16')),
  'dense_float16': uniform(methods.Dense('float16')),
  'dpq_sx': uniform(methods.DifferentiableSoftmax(13, 16)),
}
BOTH_FORMS = pytest.mark.parametrize('form', ['trainable', 'stored'])
EACH_SCHEME = pytest.mark.parametrize('name', SCHEMES)


def abstract_params(scheme: Scheme, form: str = 'trainable'):
  def make():
    params = group_params.init(jax.random.key(0), scheme)
    return (
      group_params.quantize_params(scheme, params)
      if form == 'stored'
      else params
    )

  return jax.eval_shape(make)


def compile_for(function, *arguments):
  return jax.jit(function).lower(*arguments).compile()


def float_results(compiled) -> set[tuple[int, ...]]:
  """Shapes of all float arrays that instructions compute.

  Instructions inside of a fusion make no arrays, only its root does; results
  of parameters and of 16-bit params passed along are not computed.
  """
  shapes = set()
  is_fused = False
  for line in compiled.as_text().splitlines():
    if line.endswith('{'):
      is_fused = line.lstrip().startswith(('%fused', '%wrapped'))
    _, equals, instruction = line.partition(' = ')
    if not equals or (is_fused and not line.lstrip().startswith('ROOT')):
      continue
    if re.search(r' (parameter|get-tuple-element|tuple|while)\(', instruction):
      continue
    # A result is one shape or a tuple of them, before the operation's name.
    result = re.match(r'\((.*?)\) [\w-]+\(|(\S+) [\w-]+\(', instruction)
    text = result.group(1) or result.group(2)
    for dims in re.findall(r'\b(?:bf16|f16|f32|f64)\[([\d,]*)\]', text):
      shapes.add(tuple(int(n) for n in dims.split(',') if n))
  assert shapes, 'every program computes something'
  return shapes


def assert_no_table(compiled, scheme: Scheme) -> None:
  """No float array stands for all words, or all of a large group, at once."""
  sizes = {V, *(n for n in scheme.splits[1:])}
  sizes |= {shape.num_words for shape in scheme.shapes}
  for dims in float_results(compiled):
    assert not (sizes & set(dims) and D in dims), dims
    assert math.prod(dims) != V * D, dims


def abstract_ids():
  return jax.ShapeDtypeStruct((NUM_TOKENS,), jnp.int32)


@BOTH_FORMS
@EACH_SCHEME
def test_lookup_does_no_work_on_the_vocabulary(name, form):
  scheme = SCHEMES[name]
  compiled = compile_for(
    lambda params, ids: read.lookup(scheme, params, ids),
    abstract_params(scheme, form),
    abstract_ids(),
  )
  sizes = {shape.num_words for shape in scheme.shapes} | {V}
  for dims in float_results(compiled):
    assert not sizes & set(dims), dims
    assert math.prod(dims) < V, dims
  assert compiled.memory_analysis().temp_size_in_bytes < TABLE_BYTES / 20


def test_lookup_of_stored_int8_decodes_the_tokens_alone():
  scheme = uniform(methods.Dense('int8'))
  compiled = compile_for(
    lambda params, ids: read.lookup(scheme, params, ids),
    abstract_params(scheme, 'stored'),
    abstract_ids(),
  )
  assert all(V not in dims for dims in float_results(compiled))
  assert compiled.memory_analysis().temp_size_in_bytes < TABLE_BYTES / 20


@pytest.mark.parametrize('num_tokens', [NUM_TOKENS, V + 1009])
@pytest.mark.parametrize(
  ('name', 'form'),
  [
    *itertools.product(SCHEMES, ['trainable', 'stored']),
    *itertools.product(COMPUTED, ['trainable', 'stored']),
    *itertools.product(TABLES, ['stored']),  # else a table is what they are
  ],
)
def test_lookup_makes_no_table_for_any_number_of_tokens(name, form, num_tokens):
  scheme = (SCHEMES | COMPUTED | TABLES)[name]
  compiled = compile_for(
    lambda params, ids: read.lookup(scheme, params, ids),
    abstract_params(scheme, form),
    jax.ShapeDtypeStruct((num_tokens,), jnp.int32),
  )
  assert_no_table(compiled, scheme)


@pytest.mark.parametrize('name', ['pq', 'vq_int8', 'subvectors'])
def test_the_gradient_of_gathers_makes_no_table_for_many_tokens(name):
  subvectors = Scheme(D, MIXED.groups[1:], 'stored')
  scheme = SCHEMES.get(name, subvectors)
  trainable, stored = forms.split_params(abstract_params(scheme))

  def loss_fn(trainable, stored, ids):
    params = forms.merge_params(trainable, stored)
    return jnp.square(read.lookup(scheme, params, ids)).sum()

  ids = jax.ShapeDtypeStruct((V + 1009,), jnp.int32)
  compiled = compile_for(jax.grad(loss_fn), trainable, stored, ids)
  assert_no_table(compiled, scheme)


@pytest.mark.parametrize('num_tokens', [5, 70])
@BOTH_FORMS
@pytest.mark.parametrize('method', CONFIGS, ids=name_of)
def test_products_are_taken_in_float32(method, form, num_tokens):
  """Accelerators round factors to fewer bits unless they are asked not to."""
  scheme = Scheme(12, (Group(61, method),))
  params = abstract_params(scheme, form)
  ids = jax.ShapeDtypeStruct((num_tokens,), jnp.int32)
  hidden = jax.ShapeDtypeStruct((3, 12), jnp.float32)
  lookup = functools.partial(read.lookup, scheme)
  logits = functools.partial(read.logits, scheme)
  found = dot_precisions(lookup, params, ids)
  assert dot_precisions(logits, params, hidden)
  found |= dot_precisions(logits, params, hidden)
  assert found == {(Precision.HIGHEST, Precision.HIGHEST)}


@BOTH_FORMS
@EACH_SCHEME
def test_logits_do_not_rebuild_the_table(name, form):
  scheme = SCHEMES[name]
  num_rows = 3
  compiled = compile_for(
    lambda params, hidden: read.logits(scheme, params, hidden),
    abstract_params(scheme, form),
    jax.ShapeDtypeStruct((num_rows, D), jnp.float32),
  )
  assert_no_table(compiled, scheme)
  # Logits themselves, in a few copies, and the decoded block.
  temp = compiled.memory_analysis().temp_size_in_bytes
  assert temp < TABLE_BYTES / 2


@pytest.mark.parametrize('stored', ['int8', 'int4', 'bfloat16', 'float16'])
def test_logits_of_a_stored_dense_group_decode_blocks(stored):
  scheme = uniform(methods.Dense(stored))
  compiled = compile_for(
    lambda params, hidden: read.logits(scheme, params, hidden),
    abstract_params(scheme, 'stored'),
    jax.ShapeDtypeStruct((3, D), jnp.float32),
  )
  for dims in float_results(compiled):
    assert not (V in dims and D in dims), dims
  assert compiled.memory_analysis().temp_size_in_bytes < TABLE_BYTES / 2


@EACH_SCHEME
def test_the_gradient_of_lookup_does_not_rebuild_the_table(name):
  scheme = SCHEMES[name]
  trainable, stored = forms.split_params(abstract_params(scheme))

  def loss_fn(trainable, stored, ids):
    params = forms.merge_params(trainable, stored)
    return jnp.square(read.lookup(scheme, params, ids)).sum()

  compiled = compile_for(jax.grad(loss_fn), trainable, stored, abstract_ids())
  assert_no_table(compiled, scheme)
  assert compiled.memory_analysis().temp_size_in_bytes < TABLE_BYTES / 2


@EACH_SCHEME
def test_the_gradient_of_a_tied_softmax_does_not_rebuild_the_table(name):
  scheme = SCHEMES[name]
  trainable, stored = forms.split_params(abstract_params(scheme))

  def loss_fn(trainable, stored, ids, labels):
    params = forms.merge_params(trainable, stored)
    hidden = read.lookup(scheme, params, ids)
    log_odds = jax.nn.log_softmax(read.logits(scheme, params, hidden))
    return -jnp.take_along_axis(log_odds, labels[:, None], 1).mean()

  ids = jax.ShapeDtypeStruct((3,), jnp.int32)
  compiled = compile_for(jax.grad(loss_fn), trainable, stored, ids, ids)
  assert_no_table(compiled, scheme)
  # Logits of three tokens and their gradients, in a few copies.
  temp = compiled.memory_analysis().temp_size_in_bytes
  assert temp < TABLE_BYTES
