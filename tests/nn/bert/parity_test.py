"""BERT, RoBERTa and DistilBERT compute what PyTorch's transformers do.

Where there is PyTorch it is asked; everywhere, its numbers that were kept (see
`make_goldens`) are compared with. Outputs and gradients in float32 are to
agree to 1e-4; the small models do to 1e-5.
"""

import functools
import importlib.util
import json
import tempfile
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import embedcomp
from embedcomp.data import minilm_l6
from tests.nn.bert import cases as bert_cases
from tests.nn.bert import make_goldens as make_bert_goldens

TOLERANCE, SMALL_TOLERANCE = 1e-4, 1e-5
HAS_TORCH = all(
  importlib.util.find_spec(name) for name in ('torch', 'transformers')
)


def needs_torch(test):
  """Marks a test of what PyTorch computes."""
  reason = 'needs: pip install "embedcomp[parity]".'
  return pytest.mark.torch(
    pytest.mark.skipif(not HAS_TORCH, reason=reason)(test)
  )


each_case = pytest.mark.parametrize('name', bert_cases.CASES)


@pytest.fixture(scope='module')
def goldens():
  with np.load(bert_cases.GOLDENS) as file:
    return dict(file)


@functools.cache
def ours(name: str, shapes: str):
  """What our model of a case computes."""
  model_case = bert_cases.CASES[name]
  with tempfile.TemporaryDirectory() as folder:
    loaded = bert_cases.load(Path(folder), model_case, json.loads(shapes))
  return bert_cases.outputs_and_gradients(
    *loaded, *bert_cases.make_inputs(model_case)
  )


def assert_close(found: dict, expected: dict, tolerance=SMALL_TOLERANCE):
  assert set(found) == set(expected)
  for name, array in expected.items():
    assert found[name].shape == array.shape, name
    np.testing.assert_allclose(
      found[name], array, rtol=0, atol=tolerance, err_msg=name
    )


@each_case
def test_the_kept_numbers_of_transformers_are_ours(name, goldens):
  outputs, gradients = ours(name, str(goldens[f'{name}/shapes']))
  start = f'{name}/outputs/'
  expected = {
    key.removeprefix(start): array
    for key, array in goldens.items()
    if key.startswith(start)
  }
  assert_close(outputs, expected)
  names = json.loads(str(goldens[f'{name}/gradients/names']))
  some = {key: bert_cases.some_entries(gradients[key]) for key in gradients}
  assert_close(some, dict(zip(names, goldens[f'{name}/gradients/entries'])))


@needs_torch
@each_case
@pytest.mark.filterwarnings('ignore')
def test_transformers_computes_the_same(name):
  model_case = bert_cases.CASES[name]
  model, shapes = make_bert_goldens.build(model_case)
  outputs, gradients = make_bert_goldens.outputs_and_gradients(
    model, *bert_cases.make_inputs(model_case)
  )
  found = ours(name, json.dumps(shapes))
  assert_close(found[0], outputs)
  assert_close(found[1], gradients)


def test_the_cases_are_as_different_as_they_should_be():
  configs = [case.config for case in bert_cases.CASES.values()]
  families = {config['model_type'] for config in configs}
  assert families == {'bert', 'roberta', 'xlm-roberta', 'distilbert'}
  acts = {c.get('hidden_act', c.get('activation')) for c in configs}
  assert acts >= {'gelu', 'relu', 'gelu_new'}
  layers = {c.get('num_hidden_layers', c.get('n_layers')) for c in configs}
  assert layers == {1, 2, 3, 4}
  heads = [c.get('num_attention_heads', c.get('n_heads')) for c in configs]
  assert {1, 3, 5, 7} <= set(heads)


@pytest.fixture(scope='module')
def minilm():
  try:
    return minilm_l6()
  except (OSError, RuntimeError) as error:
    pytest.skip(f'MiniLM-L6 cannot be had: {error}')


@pytest.fixture(scope='module')
def our_minilm(minilm):
  with warnings.catch_warnings():
    warnings.simplefilter('error')  # nothing in the file is unknown to us
    loaded = embedcomp.from_pretrained(minilm)
  return bert_cases.outputs_and_gradients(*loaded, *bert_cases.minilm_inputs())


def test_the_kept_numbers_of_minilm_are_ours(our_minilm, goldens):
  outputs, gradients = our_minilm
  arrays = outputs | gradients
  some = {key: bert_cases.some_entries(arrays[key]) for key in arrays}
  names = json.loads(str(goldens['minilm/names']))
  expected = dict(zip(names, goldens['minilm/entries']))
  assert_close(some, expected, TOLERANCE)


@needs_torch
@pytest.mark.filterwarnings('ignore')
def test_minilm_computes_what_transformers_does(minilm, our_minilm):
  outputs, gradients = make_bert_goldens.outputs_and_gradients(
    make_bert_goldens.load_minilm(minilm), *bert_cases.minilm_inputs()
  )
  assert_close(our_minilm[0], outputs, TOLERANCE)
  assert_close(our_minilm[1], gradients, TOLERANCE)


def saved_again(name: str, folder: Path) -> tuple[Path, Path]:
  """A case's checkpoint, and what we write of it."""
  model_case = bert_cases.CASES[name]
  _, shapes = make_bert_goldens.build(model_case)
  first, second = folder / 'first', folder / 'second'
  model, params = bert_cases.load(first, model_case, shapes)
  embedcomp.save_pretrained(second, model, params)
  return first, second


@needs_torch
@each_case
@pytest.mark.filterwarnings('ignore')
def test_transformers_reads_what_we_write(name, tmp_path):
  import transformers

  head = bert_cases.CASES[name].head
  kind = getattr(transformers, make_bert_goldens.CLASSES[head])
  first, second = [
    kind.from_pretrained(folder, output_loading_info=True)
    for folder in saved_again(name, tmp_path)
  ]
  for model, info in (first, second):
    assert not any(info.values()), info
    assert model.dtype.itemsize == 4
  before, after = first[0].state_dict(), second[0].state_dict()
  assert set(before) == set(after)
  assert all((before[key] == after[key]).all() for key in before)
  written = json.loads((tmp_path / 'second' / 'config.json').read_text())
  assert written['architectures'] == [type(first[0]).__name__]
  sizes, found = first[0].config.to_dict(), second[0].config.to_dict()
  ours = set(written) - {'architectures', 'id2label', 'label2id'}
  assert {key: found[key] for key in ours & set(sizes)} == {
    key: sizes[key] for key in ours & set(sizes)
  }
  assert len(found['id2label']) == len(sizes['id2label'])


@needs_torch
@pytest.mark.filterwarnings('ignore')
def test_transformers_does_not_take_a_packed_directory_for_a_whole_one(
  tmp_path,
):
  import transformers

  first, _ = saved_again('bert', tmp_path)
  model, params = embedcomp.from_pretrained(first)
  scheme = embedcomp.Scheme(
    24, (embedcomp.Group(23, embedcomp.methods.Drop()),)
  )
  words = embedcomp.init(jax.random.key(0), scheme)
  model = model.clone(embedder=embedcomp.GroupedEmbed(scheme))
  params = params | {'embedder': words}
  embedcomp.save_pretrained(tmp_path / 'packed', model, params)
  with pytest.raises(RuntimeError, match='mismatch'):
    transformers.AutoModel.from_pretrained(tmp_path / 'packed')
  embedcomp.save_pretrained(tmp_path / 'dense', model, params, dense=True)
  whole = transformers.AutoModel.from_pretrained(tmp_path / 'dense')
  table = whole.get_input_embeddings().weight.detach().numpy()
  np.testing.assert_array_equal(table, embedcomp.reconstruct(scheme, words))
