"""Directories of BERTs: what is read, what is written."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import embedcomp
from embedcomp import Bert
from embedcomp.nn import (
  BertClassifier,
  BertMaskedLM,
  BertTokenClassifier,
  SentenceEncoder,
)
from tests.io.bert.directories import (
  CONFIG,
  IDS,
  LAYER,
  WORDS,
  D,
  H,
  N,
  P,
  V,
  assert_same,
  make_tensors,
  write,
  write_shards,
)


@pytest.fixture
def tensors():
  return make_tensors()


@pytest.fixture
def folder(tmp_path, tensors):
  return write(tmp_path / 'model', tensors)


def test_each_number_goes_where_it_belongs(folder, tensors):
  model, params = embedcomp.from_pretrained(folder)
  assert model == Bert(CONFIG)
  layer = params['layer_0']
  for share, part in enumerate(('query', 'key', 'value')):
    name = f'{LAYER}attention.self.{part}.'
    for feature, head, place in np.ndindex(D, N, H):
      row = head * H + place
      joined = layer['query_key_value']
      weight = tensors[name + 'weight'][row, feature]
      assert joined['kernel'][feature, share, head, place] == weight
      assert joined['bias'][share, head, place] == tensors[name + 'bias'][row]
  out_of = LAYER + 'attention.output.'
  out = tensors[out_of + 'dense.weight']
  for head, place, feature in np.ndindex(N, H, D):
    found = layer['attention_out']['kernel'][head, place, feature]
    assert found == out[feature, head * H + place]
  for ours, theirs in (
    (layer['mlp_in']['kernel'].T, LAYER + 'intermediate.dense.weight'),
    (layer['mlp_out']['kernel'].T, LAYER + 'output.dense.weight'),
    (layer['mlp_norm']['scale'], LAYER + 'output.LayerNorm.weight'),
    (
      layer['attention_norm']['bias'],
      LAYER + 'attention.output.LayerNorm.bias',
    ),
    (params['embeddings']['norm']['scale'], 'embeddings.LayerNorm.weight'),
    (params['embedder']['embedding'], WORDS),
    (params['pooler']['kernel'].T, 'pooler.dense.weight'),
  ):
    np.testing.assert_array_equal(ours, tensors[theirs])
  wanted = jax.eval_shape(model.init, jax.random.key(0), IDS)['params']
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, wanted)


def test_old_and_new_names_mean_the_same(tmp_path, folder, tensors):
  expected = embedcomp.from_pretrained(folder)[1]
  old = {
    f'bert.{name}'.replace('Norm.weight', 'Norm.gamma').replace(
      'Norm.bias', 'Norm.beta'
    ): tensor
    for name, tensor in tensors.items()
  }
  assert 'bert.embeddings.LayerNorm.gamma' in old
  found = embedcomp.from_pretrained(write(tmp_path / 'old', old))[1]
  assert_same(found, expected)


def test_a_name_with_and_without_prefix_is_refused(tmp_path, tensors):
  tensors['bert.' + WORDS] = tensors[WORDS]
  with pytest.raises(ValueError, match=f'twice: .*{WORDS}'):
    embedcomp.from_pretrained(write(tmp_path / 'model', tensors))


@pytest.mark.parametrize('dtype', [np.float16, ml_dtypes.bfloat16, np.float64])
def test_all_floats_become_float32(tmp_path, tensors, dtype):
  cast = {name: tensor.astype(dtype) for name, tensor in tensors.items()}
  found = embedcomp.from_pretrained(write(tmp_path / 'cast', cast))[1]
  assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype('f4')}
  expected = cast[WORDS].astype(np.float32)
  np.testing.assert_array_equal(found['embedder']['embedding'], expected)


def test_shards_are_joined(tmp_path, folder, tensors):
  write_shards(tmp_path / 'shards', tensors)
  found = embedcomp.from_pretrained(tmp_path / 'shards')[1]
  assert_same(found, embedcomp.from_pretrained(folder)[1])


def test_what_belongs_to_other_heads_is_passed_over(tmp_path, tensors):
  extra = {
    'embeddings.position_ids': np.arange(P)[None],
    'cls.predictions.bias': np.zeros(V, np.float32),
    'cls.seq_relationship.weight': np.zeros((2, D), np.float32),
    'classifier.weight': np.zeros((2, D), np.float32),
    'qa_outputs.bias': np.zeros(2, np.float32),
  }
  path = write(tmp_path / 'model', tensors | extra)
  embedcomp.from_pretrained(path)  # warnings are errors
  embedcomp.from_pretrained(path, head='sentence')


def test_what_nobody_knows_is_named_in_one_warning(tmp_path, tensors):
  extra = {'bert.adapter.weight': np.zeros(2), 'encoder.layer.1.x': np.zeros(2)}
  path = write(tmp_path / 'model', tensors | extra)
  with pytest.warns(UserWarning, match='unknown use') as caught:
    embedcomp.from_pretrained(path)
  (warning,) = caught
  assert all(name in str(warning.message) for name in extra)
  assert warning.filename == __file__


def test_without_pooler_the_model_has_none(tmp_path, tensors):
  bare = {k: v for k, v in tensors.items() if 'pooler' not in k}
  model, params = embedcomp.from_pretrained(write(tmp_path / 'model', bare))
  assert not model.add_pooler
  assert model.apply({'params': params}, IDS).pooler_output is None


def test_dtype_and_attention_go_to_the_model(folder):
  model, params = embedcomp.from_pretrained(
    folder, dtype=jnp.bfloat16, attention_fn=print
  )
  assert model.dtype == jnp.bfloat16
  assert model.attention_fn is print
  assert params['embedder']['embedding'].dtype == jnp.float32


# Heads


@pytest.mark.parametrize(
  ('head', 'kind', 'lacking'),
  [
    ('sentence', SentenceEncoder, []),
    ('classification', BertClassifier, ['classifier.weight']),
    ('token_classification', BertTokenClassifier, ['classifier.bias']),
    ('masked_lm', BertMaskedLM, ['cls.predictions.transform.dense.weight']),
  ],
)
def test_a_head_that_is_lacking_starts_from_noise(folder, head, kind, lacking):
  def read(seed=0):
    if not lacking:
      return embedcomp.from_pretrained(folder, head=head, seed=seed)
    with pytest.warns(UserWarning, match='start from noise') as caught:
      loaded = embedcomp.from_pretrained(folder, head=head, seed=seed)
    (warning,) = caught
    assert all(f"'{name}'" in str(warning.message) for name in lacking)
    assert 'encoder' not in str(warning.message).split('lacks')[1]
    return loaded

  model, params = read()
  assert type(model) is kind
  wanted = jax.eval_shape(model.init, jax.random.key(0), IDS)['params']
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, wanted)
  assert_same(params, read()[1])
  layer = {'masked_lm': 'transform', 'sentence': None}.get(head, 'classifier')
  if layer:
    kernel = np.asarray(params[layer]['kernel'])
    assert 0 < np.abs(kernel).max() < 6 * CONFIG.initializer_range
    assert (np.asarray(params[layer]['bias']) == 0).all()
    assert not np.allclose(kernel, read(seed=1)[1][layer]['kernel'])
  if head == 'masked_lm':
    assert (np.asarray(params['transform_norm']['scale']) == 1).all()


def test_noise_is_as_large_as_the_config_says(tmp_path, tensors):
  path = write(tmp_path / 'model', tensors, {'initializer_range': 5.0})
  with pytest.warns(UserWarning, match='start from noise'):
    _, params = embedcomp.from_pretrained(path, head='masked_lm')
  deviation = np.std(params['transform']['kernel'])  # of 36 numbers
  assert 5 / 2 < deviation < 5 * 2


def classifier(num_labels: int) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(5)
  return {
    'classifier.weight': rng.normal(size=(num_labels, D)).astype(np.float32),
    'classifier.bias': rng.normal(size=num_labels).astype(np.float32),
  }


@pytest.mark.parametrize(
  'fields', [{'id2label': {'0': 'a', '1': 'b', '2': 'c'}}, {'num_labels': 3}]
)
def test_labels_are_counted_as_the_config_says(tmp_path, tensors, fields):
  tensors |= classifier(3)
  path = write(tmp_path / 'model', tensors, fields)
  model, params = embedcomp.from_pretrained(path, head='classification')
  assert model.num_labels == 3
  expected = tensors['classifier.weight'].T
  np.testing.assert_array_equal(params['classifier']['kernel'], expected)
  pooler = tensors['pooler.dense.weight'].T
  np.testing.assert_array_equal(params['pooler']['kernel'], pooler)


def test_another_number_of_labels_makes_a_new_layer(tmp_path, tensors):
  path = write(tmp_path / 'model', tensors | classifier(2))
  with pytest.warns(UserWarning, match='classifier.weight.*noise'):
    model, params = embedcomp.from_pretrained(
      path, head='classification', num_labels=5
    )
  assert model.num_labels == 5
  assert params['classifier']['kernel'].shape == (D, 5)
  kept, same = embedcomp.from_pretrained(
    path, head='classification', num_labels=2
  )
  assert kept.num_labels == 2
  assert_same(same['pooler'], params['pooler'])


def test_a_classifier_that_contradicts_the_config_is_refused(tmp_path, tensors):
  path = write(tmp_path / 'model', tensors | classifier(2), {'num_labels': 3})
  with pytest.raises(ValueError, match=r'classifier.weight must be .*\[3, 6\]'):
    embedcomp.from_pretrained(path, head='classification')


def masked_lm() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(6)
  start = 'cls.predictions.'
  shapes = {
    start + 'transform.dense.weight': (D, D),
    start + 'transform.dense.bias': (D,),
    start + 'transform.LayerNorm.weight': (D,),
    start + 'transform.LayerNorm.bias': (D,),
    start + 'bias': (V,),
  }
  return {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }


def test_words_may_be_scored_by_the_same_table_only(tmp_path, tensors):
  tensors |= masked_lm()
  decoder = 'cls.predictions.decoder.weight'
  plain = write(tmp_path / 'plain', tensors)
  _, expected = embedcomp.from_pretrained(plain, head='masked_lm')
  bias = tensors['cls.predictions.bias']
  np.testing.assert_array_equal(expected['bias'], bias)

  tied = write(tmp_path / 'tied', tensors | {decoder: tensors[WORDS]})
  _, found = embedcomp.from_pretrained(tied, head='masked_lm')
  assert_same(found, expected)
  other = write(tmp_path / 'other', tensors | {decoder: tensors[WORDS] + 1})
  with pytest.raises(ValueError, match=r'decoder\.weight must be the word'):
    embedcomp.from_pretrained(other, head='masked_lm')
  embedcomp.from_pretrained(other)  # the encoder does not depend on it
  untied = write(tmp_path / 'untied', tensors, {'tie_word_embeddings': False})
  with pytest.raises(ValueError, match='tie_word_embeddings must be true'):
    embedcomp.from_pretrained(untied, head='masked_lm')


def test_the_bias_of_words_goes_by_either_name(tmp_path, tensors):
  tensors |= masked_lm()
  bias = tensors.pop('cls.predictions.bias')
  tensors['cls.predictions.decoder.bias'] = bias
  path = write(tmp_path / 'model', tensors)
  _, params = embedcomp.from_pretrained(path, head='masked_lm')
  np.testing.assert_array_equal(params['bias'], bias)


@pytest.mark.parametrize(
  ('kwargs', 'match'),
  [
    ({'head': 'chat'}, "head must be one of .*, got 'chat'"),
    ({'num_labels': 2}, 'num_labels is for heads'),
    ({'head': 'sentence', 'num_labels': 2}, 'num_labels is for heads'),
    ({'head': 'classification', 'num_labels': 0}, 'num_labels must be in'),
    ({'head': 'classification', 'num_labels': 2**40}, 'num_labels must be in'),
  ],
)
def test_bad_arguments_are_named(folder, kwargs, match):
  with pytest.raises(ValueError, match=match):
    embedcomp.from_pretrained(folder, **kwargs)
