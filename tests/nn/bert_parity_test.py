"""BERT, RoBERTa and DistilBERT compute what PyTorch's transformers do.

Where there is PyTorch it is asked; everywhere, its numbers that were kept (see
`make_bert_goldens`) are compared with. Outputs and gradients in float32 are to
agree to 1e-4.
"""

import functools
import importlib.util
import json
import tempfile
import warnings
from pathlib import Path

import bert_cases
import make_bert_goldens
import numpy as np
import pytest

import embedcomp
from embedcomp.data import minilm_l6

TOLERANCE = 1e-4
HAS_TORCH = all(
  importlib.util.find_spec(name) for name in ('torch', 'transformers')
)
needs_torch = pytest.mark.skipif(
  not HAS_TORCH, reason='needs: pip install "embedcomp[parity]".'
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


def assert_close(found: dict, expected: dict):
  assert set(found) == set(expected)
  for name, array in expected.items():
    assert found[name].shape == array.shape, name
    np.testing.assert_allclose(
      found[name], array, rtol=0, atol=TOLERANCE, err_msg=name
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
  names = json.loads(str(goldens[f'{name}/gradient_names']))
  some = {key: bert_cases.some_entries(gradients[key]) for key in gradients}
  assert_close(some, dict(zip(names, goldens[f'{name}/gradients'])))


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


@needs_torch
@pytest.mark.filterwarnings('ignore')
def test_minilm_computes_what_transformers_does(minilm):
  import transformers

  theirs = transformers.AutoModel.from_pretrained(
    minilm, attn_implementation='eager'
  ).eval()
  rng = np.random.default_rng(0)
  ids = rng.integers(1_000, 30_000, (2, 9))
  real = np.ones(ids.shape, bool)
  real[1, 5:] = False
  ids[~real] = 0
  given = ids, real, np.zeros_like(ids), real
  outputs, gradients = make_bert_goldens.outputs_and_gradients(theirs, *given)
  with warnings.catch_warnings():
    warnings.simplefilter('error')  # nothing in the file is unknown to us
    loaded = embedcomp.from_pretrained(minilm)
  found = bert_cases.outputs_and_gradients(*loaded, *given)
  assert_close(found[0], outputs)
  assert_close(found[1], gradients)
