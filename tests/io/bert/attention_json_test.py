"""Directories of BERTs with an attention of their own, and more positions."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

import embedcomp
from embedcomp import Bert, BertConfig, dense_attention
from embedcomp.io.bert import attention_json
from embedcomp.nn import BertClassifier, SentenceEncoder
from embedcomp.nn.sparse_attention import (
  LocalAttention,
  RecursiveAttention,
  SlidingWindowAttention,
)
from tests.io.bert.directories import (
  CONFIG,
  FIELDS,
  IDS,
  LAYER,
  SHAPES,
  D,
  H,
  N,
  P,
  assert_same,
  contents,
  make_tensors,
  random_params,
  write,
)

KEY = 'embedcomp_attention'
LEARNED = RecursiveAttention(chunk_size=2, num_summaries=1, learned=True)
PLAIN = RecursiveAttention(chunk_size=2, num_summaries=1)
LEARNED_SHAPES = {
  LAYER + 'attention.summaries.anchor': (N, H),
  LAYER + 'attention.summaries.level_bias': (8, N),
}
RECURSIVE = {
  'type': 'recursive',
  'chunk_size': 128,
  'num_summaries': 8,
  'num_levels': 3,
  'num_global': 2,
  'learned': False,
}


def save(folder, model, params=None):
  params = random_params(model) if params is None else params
  embedcomp.save_pretrained(folder, model, params)
  return params


def section_of(folder):
  return json.loads((folder / 'config.json').read_text()).get(KEY)


@pytest.mark.parametrize(
  ('attention_fn', 'section'),
  [
    (dense_attention, None),
    (RecursiveAttention(128, 2, 8, 3), RECURSIVE),
    (
      SlidingWindowAttention(64, reach=2),
      {'type': 'sliding_window', 'chunk_size': 64, 'num_global': 1, 'reach': 2},
    ),
    (
      (LocalAttention(8), LocalAttention(8, shift=4), dense_attention),
      [
        {'type': 'local', 'chunk_size': 8, 'num_global': 1, 'shift': 0},
        {'type': 'local', 'chunk_size': 8, 'num_global': 1, 'shift': 4},
        {'type': 'dense'},
      ],
    ),
  ],
)
def test_an_attention_comes_back_by_its_name(tmp_path, attention_fn, section):
  model = SentenceEncoder(CONFIG, attention_fn=attention_fn)
  params = save(tmp_path / 'one', model)
  assert section_of(tmp_path / 'one') == section
  again, found = embedcomp.from_pretrained(tmp_path / 'one', head='sentence')
  assert again == model
  assert_same(found, params)
  save(tmp_path / 'two', again, found)
  assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


def test_whoever_reads_may_choose_another_attention(tmp_path):
  save(tmp_path / 'a', Bert(CONFIG, attention_fn=PLAIN))
  for attention_fn in (dense_attention, LocalAttention(4)):
    model, _ = embedcomp.from_pretrained(
      tmp_path / 'a', attention_fn=attention_fn
    )
    assert model.attention_fn == attention_fn


def test_fields_that_are_not_said_have_their_defaults(tmp_path):
  section = {'type': 'recursive', 'chunk_size': 64}
  write(tmp_path / 'a', make_tensors(), {KEY: section})
  model, _ = embedcomp.from_pretrained(tmp_path / 'a')
  assert model.attention_fn == RecursiveAttention(chunk_size=64)


@pytest.mark.parametrize(
  ('section', 'match'),
  [
    ([], r'one or several, got \[\]'),
    (None, 'must be an object with a type, got None'),
    ('recursive', "must be an object with a type, got 'recursive'"),
    ({'chunk_size': 4}, 'must be an object with a type'),
    ({'type': ['local']}, 'must be an object with a type'),
    ({'type': 'sparse'}, "must be one of .*'local'.*, got 'sparse'"),
    ({'type': 'local', 'reach': 1, 'a': 2}, r"'local' has no fields \['a', 'r"),
    ({'type': 'dense', 'chunk_size': 1}, "'dense' has no fields"),
    ({'type': 'local', 'chunk_size': 0}, "'local'.*chunk_size must .* got 0"),
    ({'type': 'local', 'chunk_size': True}, 'chunk_size must .* got True'),
    ({'type': 'sliding_window', 'chunk_size': '8'}, 'sliding_window'),
    ({'type': 'recursive', 'num_levels': 1.5}, 'num_levels must .* got 1.5'),
    ({'type': 'recursive', 'chunk_size': 8}, 'num_summaries must divide'),
    ({'type': 'recursive', 'learned': 1}, 'learned .* true or false, got 1'),
    ([{'type': 'dense'}, {'type': 'x'}], "got 'x'"),
  ],
)
def test_a_bad_section_is_named_with_its_file(tmp_path, section, match):
  write(tmp_path / 'a', make_tensors(), {KEY: section})
  with pytest.raises(ValueError, match=match) as error:
    embedcomp.from_pretrained(tmp_path / 'a')
  assert str(error.value).startswith(f'{tmp_path / "a" / "config.json"} is not')


def test_functions_that_have_no_name_are_left_out_with_a_warning(tmp_path):
  def attend(*args, **kwargs):
    return dense_attention(*args, **kwargs)

  model = Bert(CONFIG, attention_fn=attend)
  with pytest.warns(UserWarning, match='dense_attention or one of .*attend'):
    save(tmp_path / 'a', model)
  assert embedcomp.from_pretrained(tmp_path / 'a')[0] == Bert(CONFIG)


@pytest.mark.parametrize('kind', [Bert, BertClassifier])
def test_learned_summaries_are_tensors_beside_the_others(tmp_path, kind):
  model = kind(CONFIG, attention_fn=LEARNED)
  params = save(tmp_path / 'a', model)
  found = safetensors.numpy.load_file(tmp_path / 'a/model.safetensors')
  head = 'classification' if kind is BertClassifier else None
  prefix = 'bert.' if head else ''
  for name, shape in LEARNED_SHAPES.items():
    assert found[prefix + name].shape == shape
  inside = params['bert'] if head else params
  np.testing.assert_array_equal(
    found[prefix + LAYER + 'attention.summaries.anchor'],
    inside['layer_0']['attention']['anchor'],
  )
  again, read = embedcomp.from_pretrained(tmp_path / 'a', head=head)
  assert again == model
  assert_same(read, params)


def test_learned_summaries_of_distilbert_are_in_its_layers(tmp_path):
  fields = FIELDS | {'model_type': 'distilbert', 'type_vocab_size': 0}
  config = BertConfig(**fields, classifier_dropout=0.2)
  model = Bert(config, attention_fn=LEARNED, add_pooler=False)
  params = save(tmp_path / 'a', model)
  found = safetensors.numpy.load_file(tmp_path / 'a/model.safetensors')
  assert 'transformer.layer.0.attention.summaries.anchor' in found
  again, read = embedcomp.from_pretrained(tmp_path / 'a')
  assert again == model
  assert_same(read, params)


def test_layers_in_turn_have_what_theirs_have_learned(tmp_path):
  config = BertConfig(**(FIELDS | {'num_hidden_layers': 3}))
  model = Bert(config, attention_fn=(PLAIN, LEARNED))
  params = save(tmp_path / 'a', model)
  again, read = embedcomp.from_pretrained(tmp_path / 'a')
  assert again == model
  assert_same(read, params)
  found = safetensors.numpy.load_file(tmp_path / 'a/model.safetensors')
  learned = {name.split('.')[2] for name in found if 'summaries' in name}
  assert learned == {'1'}


def test_what_a_plain_checkpoint_has_not_learned_starts_without_effect(
  tmp_path,
):
  write(tmp_path / 'a', make_tensors())
  model, params = embedcomp.from_pretrained(
    tmp_path / 'a', attention_fn=LEARNED
  )
  learned = params['layer_0']['attention']
  assert all((np.asarray(leaf) == 0).all() for leaf in learned.values())
  plain, others = embedcomp.from_pretrained(tmp_path / 'a', attention_fn=PLAIN)
  assert 'attention' not in others['layer_0']
  found = model.apply({'params': params}, IDS).last_hidden_state
  expected = plain.apply({'params': others}, IDS).last_hidden_state
  np.testing.assert_array_equal(found, expected)
  made = jax.eval_shape(model.init, jax.random.key(0), IDS)['params']
  assert jax.tree.structure(made) == jax.tree.structure(params)


def test_whoever_takes_dense_attention_need_not_hear_of_summaries(tmp_path):
  save(tmp_path / 'a', Bert(CONFIG, attention_fn=LEARNED))
  model, params = embedcomp.from_pretrained(
    tmp_path / 'a', attention_fn=dense_attention
  )
  assert set(params['layer_0']) == set(random_params(Bert(CONFIG))['layer_0'])
  save(tmp_path / 'b', model, params)
  found = safetensors.numpy.load_file(tmp_path / 'b/model.safetensors')
  assert set(found) == set(SHAPES)
  assert section_of(tmp_path / 'b') is None


def test_summaries_that_the_config_tells_of_must_be_there(tmp_path):
  section = {KEY: attention_json.to_fields(LEARNED)[KEY]}
  write(tmp_path / 'a', make_tensors(), section)
  with pytest.raises(ValueError, match=r'lacks .*summaries\.anchor'):
    embedcomp.from_pretrained(tmp_path / 'a')
  tensors = make_tensors() | {
    name: np.zeros(shape[1:], np.float32)
    for name, shape in LEARNED_SHAPES.items()
  }
  write(tmp_path / 'b', tensors, section)
  with pytest.raises(ValueError, match=r'anchor must be floats \[2, 3\]'):
    embedcomp.from_pretrained(tmp_path / 'b')


LONGER = (
  ('bert', {}, 0),
  ('roberta', {'pad_token_id': 1}, 2),
  ('distilbert', {'type_vocab_size': 0, 'classifier_dropout': 0.2}, 0),
)


@pytest.mark.parametrize('head', [None, 'sentence'])
@pytest.mark.parametrize(('family', 'more', 'first'), LONGER)
def test_longer_tables_read_longer_texts(tmp_path, family, more, first, head):
  config = BertConfig(**(FIELDS | {'model_type': family} | more))
  kind = SentenceEncoder if head else Bert
  own = {} if head else {'add_pooler': False}
  old = save(tmp_path / 'a', kind(config, **own))
  model, params = embedcomp.from_pretrained(
    tmp_path / 'a', head=head, max_length=20
  )
  assert model.config.longest_input == 20
  assert model.config.max_position_embeddings == 20 + first
  inside, before = (p['bert'] if head else p for p in (params, old))
  found = np.asarray(inside['embeddings']['position']['embedding'])
  table = before['embeddings']['position']['embedding']
  assert found.shape == (20 + first, D)
  # Those that padding reads, that of the first token, and the last one stay.
  np.testing.assert_array_equal(found[: first + 1], table[: first + 1])
  np.testing.assert_array_equal(found[-1], table[-1])
  places = np.linspace(first + 1, P - 1, 19)
  expected = np.interp(places, np.arange(P), table[:, 2])
  np.testing.assert_allclose(found[first + 1 :, 2], expected, atol=1e-5)
  ids = np.full((1, 20), 5)
  jax.jit(model.apply)({'params': params}, ids)
  save(tmp_path / 'b', model, params)
  again, read = embedcomp.from_pretrained(tmp_path / 'b', head=head)
  assert again == model
  assert_same(read, params)


def test_tables_may_be_tiled(tmp_path):
  tensors = make_tensors()
  write(tmp_path / 'a', tensors)
  _, params = embedcomp.from_pretrained(
    tmp_path / 'a', max_length=15, positions='tiled'
  )
  table = tensors['embeddings.position_embeddings.weight']
  expected = table[[0, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 1, 2]]
  found = params['embeddings']['position']['embedding']
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('max_length', [1, P])
def test_tables_that_suffice_stay_as_they_are(tmp_path, max_length):
  write(tmp_path / 'a', make_tensors())
  expected, params = embedcomp.from_pretrained(tmp_path / 'a')
  model, found = embedcomp.from_pretrained(
    tmp_path / 'a', max_length=max_length
  )
  assert model == expected
  assert_same(found, params)


@pytest.mark.parametrize(
  ('kwargs', 'match'),
  [
    ({'max_length': 0}, 'max_length must be an int of at least 1, got 0'),
    ({'max_length': True}, 'max_length must be an int'),
    ({'max_length': 20.0}, 'max_length must be an int'),
    ({'positions': 'cubic'}, "positions must be one of .*got 'cubic'"),
    ({'attention_fn': ()}, '^attention_fn must be one or several'),
  ],
)
def test_bad_arguments_are_named(tmp_path, kwargs, match):
  write(tmp_path / 'a', make_tensors())
  with pytest.raises(ValueError, match=match):
    embedcomp.from_pretrained(tmp_path / 'a', **kwargs)


def test_remat_goes_to_the_model(tmp_path):
  write(tmp_path / 'a', make_tensors())
  for head in (None, 'sentence'):
    model, _ = embedcomp.from_pretrained(tmp_path / 'a', head=head, remat=True)
    assert model.remat
