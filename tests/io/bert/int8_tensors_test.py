"""Int8 weights of BERTs in files: read, written, exported and refused."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import embedcomp
from embedcomp import (
  Bert,
  BertConfig,
  GroupedEmbed,
  dequantize_encoder,
  quantize_encoder,
)
from embedcomp.nn import (
  BertClassifier,
  BertMaskedLM,
  BertTokenClassifier,
  SentenceEncoder,
)
from embedcomp.nn.bert import int8
from tests.io.bert.directories import (
  CONFIG,
  FIELDS,
  IDS,
  LAYER,
  QUERY,
  SCHEME,
  SHAPES,
  WORDS,
  D,
  P,
  assert_comes_back,
  assert_same,
  contents,
  random_params,
)

HEADS = {
  None: Bert,
  'classification': BertClassifier,
  'token_classification': BertTokenClassifier,
  'masked_lm': BertMaskedLM,
  'sentence': SentenceEncoder,
}
# Of transformers' tensors, those that are stored as int8.
STORED = [
  name
  for name, shape in SHAPES.items()
  if len(shape) == 2 and 'word_embeddings' not in name
]
POSITIONS = 'embeddings.position_embeddings.weight'


def quantized(model):
  return quantize_encoder(model, random_params(model))


def load_file(folder):
  return safetensors.numpy.load_file(folder / 'model.safetensors')


@pytest.fixture
def folder(tmp_path):
  embedcomp.save_pretrained(tmp_path / 'one', *quantized(Bert(CONFIG)))
  return tmp_path / 'one'


@pytest.mark.parametrize(
  ('family', 'fields', 'head'),
  [
    *(('bert', {}, head) for head in HEADS),
    ('roberta', {'pad_token_id': 1, 'type_vocab_size': 1}, 'classification'),
    ('xlm-roberta', {'pad_token_id': 1}, 'masked_lm'),
    (
      'distilbert',
      {'type_vocab_size': 0, 'classifier_dropout': 0.2},
      'classification',
    ),
  ],
)
def test_models_come_back_to_the_bit(tmp_path, family, fields, head):
  config = BertConfig(**(FIELDS | {'model_type': family} | fields))
  model = HEADS[head](config)
  params = random_params(model)
  small, stored = quantize_encoder(model, params)
  assert_comes_back(tmp_path, small, stored, head)
  # What is being trained is written as what it will be read as.
  embedcomp.save_pretrained(tmp_path / 'three', small, params)
  assert contents(tmp_path / 'one') == contents(tmp_path / 'three')


def test_the_file_is_what_the_format_says(folder, tmp_path):
  fields = json.loads((folder / 'config.json').read_text())
  assert fields['embedcomp_weights'] == 'int8'
  assert 'embedcomp' not in fields
  found = load_file(folder)
  model, params = embedcomp.from_pretrained(folder)
  embedcomp.save_pretrained(tmp_path / 'dense', model, params, dense=True)
  dense = load_file(tmp_path / 'dense')
  assert set(dense) == set(SHAPES)
  parts = [f'{name}.{part}' for name in STORED for part in ('values', 'scale')]
  assert set(found) == {*SHAPES, *parts}
  for name, shape in SHAPES.items():
    if name not in STORED:
      np.testing.assert_array_equal(found[name], dense[name])
      continue
    assert (found[name].dtype, found[name].shape) == ('f4', (0, shape[1]))
    values, scale = (found[f'{name}.{part}'] for part in ('values', 'scale'))
    assert (values.dtype, values.shape) == (np.int8, shape)
    assert (scale.dtype, scale.shape) == (ml_dtypes.bfloat16, (shape[0], 1))
    expected = values.astype('f4') * scale.astype('f4')
    np.testing.assert_array_equal(dense[name], expected)
    assert (abs(values.astype(int)).max(axis=1) == 127).all()


def test_rows_of_queries_are_rows_of_the_kernel(folder):
  """Scales and numbers of one output of one head, by hand."""
  found = load_file(folder)
  kernel = embedcomp.from_pretrained(folder)[1]['layer_0']['query_key_value']
  for share, part in enumerate(('query', 'key', 'value')):
    name = f'{LAYER}attention.self.{part}.weight'
    row = 1 * 3 + 2  # of head 1, feature 2
    stored = kernel['kernel']
    scale = stored.scale[0, share, 1, 2]
    assert scale == found[f'{name}.scale'][row, 0]
    values = stored.values[:, share, 1, 2]
    np.testing.assert_array_equal(values, found[f'{name}.values'][row])


def test_an_export_computes_what_the_int8_model_does(folder, tmp_path):
  model, params = embedcomp.from_pretrained(folder)
  embedcomp.save_pretrained(tmp_path / 'dense', model, params, dense=True)
  assert 'embedcomp_weights' not in (tmp_path / 'dense/config.json').read_text()
  dense, floats = embedcomp.from_pretrained(tmp_path / 'dense')
  assert dense == Bert(CONFIG)
  assert_same(floats, dequantize_encoder(model, params)[1])
  expected = jax.jit(dense.apply)({'params': floats}, IDS).pooler_output
  found = jax.jit(model.apply)({'params': params}, IDS).pooler_output
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_words_may_be_packed_beside(tmp_path):
  words = embedcomp.init(jax.random.key(0), SCHEME, np.arange(11))
  words = embedcomp.quantize_params(SCHEME, words)
  small, stored = quantized(Bert(CONFIG))
  model = small.clone(embedder=GroupedEmbed(SCHEME), parent=None)
  params = stored | {'embedder': words}
  embedcomp.save_pretrained(tmp_path / 'one', model, params)
  again, found = embedcomp.from_pretrained(tmp_path / 'one')
  assert again == model
  assert_same(found, params)
  tensors = load_file(tmp_path / 'one')
  assert tensors[WORDS].shape == (0, D)
  stored_bytes = sum(tensor.nbytes for tensor in tensors.values())
  rows = [SHAPES[name] for name in STORED]
  others = [shape for name, shape in SHAPES.items() if name not in STORED]
  others.remove(SHAPES[WORDS])
  assert stored_bytes == (
    sum(np.prod(shape) + 2 * shape[0] for shape in rows)
    + 4 * sum(np.prod(shape) for shape in others)
  )


@pytest.mark.parametrize('how', ['interpolated', 'tiled'])
def test_more_positions_are_stored_as_int8_too(folder, how):
  _, before = embedcomp.from_pretrained(folder)
  with_more = embedcomp.from_pretrained(folder, max_length=12, positions=how)
  model, params = with_more
  assert model.config.max_position_embeddings == 12
  old = int8.dequantize(before['embeddings']['position']['embedding'])
  leaf = params['embeddings']['position']['embedding']
  new = np.asarray(int8.dequantize(leaf))
  assert (leaf.values.dtype, new.shape) == (np.int8, (12, D))
  if how == 'tiled':
    rows = [0, *(1 + np.arange(11) % (P - 1))]
    np.testing.assert_array_equal(new, old[np.array(rows)])
  np.testing.assert_array_equal(new[[0, 1]], old[np.array([0, 1])])
  long = np.ones((1, 12), np.int32)
  found = jax.eval_shape(model.apply, {'params': params}, long)
  assert found.last_hidden_state.shape == (1, 12, D)


def test_a_head_that_is_missing_starts_from_floats(tmp_path):
  embedcomp.save_pretrained(tmp_path, *quantized(SentenceEncoder(CONFIG)))
  with pytest.warns(UserWarning, match='start from noise'):
    model, params = embedcomp.from_pretrained(tmp_path, head='classification')
  assert params['pooler']['kernel'].dtype == np.float32
  assert isinstance(
    params['bert']['layer_0']['mlp_in']['kernel'], embedcomp.Stored
  )
  embedcomp.save_pretrained(tmp_path, model, params)
  found = embedcomp.from_pretrained(tmp_path, head='classification')[1]
  assert_same(found, quantize_encoder(model, params)[1])


def test_no_other_model_speaks_of_weights(tmp_path):
  model = Bert(CONFIG)
  embedcomp.save_pretrained(tmp_path, model, random_params(model))
  assert 'weights' not in (tmp_path / 'config.json').read_text()
  fields = json.loads((tmp_path / 'config.json').read_text())
  fields['embedcomp_weights'] = 'float32'
  (tmp_path / 'config.json').write_text(json.dumps(fields))
  assert embedcomp.from_pretrained(tmp_path)[0] == model


# Damage


def rewritten(tensor, value):
  tensor = tensor.copy()
  tensor.flat[2] = value
  return tensor


@pytest.mark.parametrize(
  ('name', 'change', 'match'),
  [
    ('scale', lambda x: rewritten(x, np.nan), 'scale must be positive and fin'),
    ('scale', lambda x: rewritten(x, np.inf), 'scale must be positive and fin'),
    ('scale', lambda x: rewritten(x, 0), 'scale must be positive'),
    ('scale', lambda x: rewritten(x, -1), 'scale must be positive'),
    ('scale', lambda x: x.astype('f4'), r'scale must be BF16\[\d+, 1\].*F32'),
    ('scale', lambda x: x[1:], r'scale must be BF16\[(\d+), 1\] by config'),
    ('scale', None, r'the checkpoint lacks .*\.weight\.scale'),
    ('values', lambda x: rewritten(x, -128), 'values must be at least -127'),
    ('values', lambda x: x.astype('f4'), r'values must be I8\[.* got F32'),
    ('values', lambda x: x.view('u1'), r'values must be I8\[.* got U8'),
    ('values', lambda x: x[:, 1:].copy(), r'values must be I8\[\d+, 6\]'),
    ('values', None, r'the checkpoint lacks .*\.weight\.values'),
    (
      '',
      lambda x: np.ones((6, 6), 'f4'),
      r'weight must be empty where weights',
    ),
    ('', None, r'the checkpoint lacks .*\.weight'),
  ],
)
@pytest.mark.parametrize('whole', [QUERY, POSITIONS])
def test_damaged_tensors_are_refused_by_name(
  folder, whole, name, change, match
):
  tensors, key = load_file(folder), f'{whole}.{name}'.rstrip('.')
  tensor = tensors.pop(key)
  if change is not None:
    tensors[key] = change(tensor)
  safetensors.numpy.save_file(tensors, folder / 'model.safetensors')
  with pytest.raises(ValueError, match=match) as error:
    embedcomp.from_pretrained(folder)
  assert whole in str(error.value)


@pytest.mark.parametrize('value', ['int4', 8, None, ['int8'], {}])
def test_other_weights_are_refused(folder, value):
  fields = json.loads((folder / 'config.json').read_text())
  fields['embedcomp_weights'] = value
  (folder / 'config.json').write_text(json.dumps(fields))
  with pytest.raises(ValueError, match='embedcomp_weights must be one of'):
    embedcomp.from_pretrained(folder)


def test_a_config_that_does_not_say_so_is_refused(folder):
  fields = json.loads((folder / 'config.json').read_text())
  del fields['embedcomp_weights']
  (folder / 'config.json').write_text(json.dumps(fields))
  with pytest.raises(ValueError, match=r'weight must be floats .*F32\[0, 6\]'):
    embedcomp.from_pretrained(folder)


@pytest.mark.parametrize(
  ('values', 'scale', 'match'),
  [
    (np.ones((D, D), 'f4'), np.ones((1, D)), 'kernel.values must be int8'),
    (np.ones((D, 2), 'i1'), np.ones((1, D)), r'values must be \[6, 6\]'),
    (np.ones((D, D), 'i1'), np.ones((D, 1)), r'scale must be \[1, 6\]'),
    (np.ones((D, D), 'i1'), np.zeros((1, D)), 'kernel.scale must be positive'),
    (np.full((D, D), -128, 'i1'), np.ones((1, D)), 'values must be at least'),
  ],
)
def test_params_that_cannot_be_read_again_are_not_written(
  folder, values, scale, match
):
  model, params = embedcomp.from_pretrained(folder)
  leaf = embedcomp.Stored(values, scale.astype(ml_dtypes.bfloat16))
  params['pooler']['kernel'] = leaf
  before = contents(folder)
  with pytest.raises(ValueError, match=match):
    embedcomp.save_pretrained(folder, model, params)
  assert contents(folder) == before
