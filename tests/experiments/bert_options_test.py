"""Runs of a BERT with an attention, positions and frozen layers of its own."""

import jax
import numpy as np
import pytest

import embedcomp
from embedcomp import data as data_lib
from embedcomp.nn.sparse_attention import RecursiveAttention
from embedcomp.workflows import evaluate
from experiments import launch
from experiments.problems import make_problem
from tests.experiments import small_bert
from tests.experiments.small_bert import own_cache

pytestmark = pytest.mark.usefixtures(own_cache.__name__)

LEARNED = RecursiveAttention(chunk_size=8, num_summaries=4, learned=True)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return small_bert.write(tmp_path_factory.mktemp('text'))


@pytest.fixture(scope='module')
def pretrained(folder):
  """The directory of a tiny model with positions for 128 tokens."""
  return make_problem(small_bert.config_of(folder), progress=False).path


def config_of(folder, pretrained, **fields):
  more = {
    'method.name': 'dense',
    'bert.path': str(pretrained),
    'bert.attention': 'recursive',
    'bert.chunk_size': 8,
    'bert.num_summaries': 4,
    'bert.learned_summaries': True,
    'bert.max_length': 160,
    'bert.remat': True,
    'bert.frozen_layers': 1,
    'data.buckets': (144,),
  }
  return small_bert.config_of(folder, **(more | fields))


def moved(before, after):
  """The names of the parts of an encoder that training has changed."""
  changes = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(before):
    other = after
    for part in path:
      other = other[part.key]
    changes.setdefault(path[0].key, []).append((leaf != other).any())
  return {name for name, changed in changes.items() if any(changed)}


def test_a_run_writes_the_model_that_it_has_measured(
  folder, pretrained, tmp_path
):
  config = config_of(folder, pretrained, **{'bert.positions': 'tiled'})
  problem = make_problem(config, progress=False)
  result = launch.run(config, tmp_path, progress=False)
  model, params = embedcomp.from_pretrained(
    tmp_path / 'model', head='classification'
  )
  assert model.attention_fn == LEARNED
  assert model.config.longest_input == 160
  before = problem.pretrained['params']
  table = before['bert']['embeddings']['position']['embedding']
  np.testing.assert_array_equal(table[1:33], table[128:])  # 127 rows repeat
  assert moved(before, params) == {'pooler', 'classifier'}
  documents = data_lib.load(folder).splits['test']
  found = evaluate.evaluate(
    'classification',
    model,
    params,
    data_lib.SubwordTokenizer.load(tmp_path / 'model'),
    documents,
    max_length=144,
    progress=False,
  )
  assert found['accuracy'] == result['value']


@pytest.mark.slow
def test_the_searched_table_learns_above_frozen_layers(
  folder, pretrained, tmp_path
):
  fields = {
    'method.name': 'search',
    'bert.attention': 'dense',
    'bert.max_length': None,
    'bert.frozen_layers': -1,
    'data.buckets': (32,),
    'data.max_documents': 64,
    'search.score': 'both',
    'search.carry': 'supernet',
    'search.held_out': True,
    'search.options': 'low_rank',
  }
  config = config_of(folder, pretrained, **fields)
  result = launch.run(config, tmp_path, progress=False)
  assert 0 < result['ratio'] <= config.budget
  assert {'start', 'search'} <= result['seconds_by_stage'].keys()
  _, params = embedcomp.from_pretrained(
    tmp_path / 'model', head='classification'
  )
  problem = make_problem(config, progress=False)
  before = problem.pretrained['params']
  assert moved(before['bert'], params['bert']) == set()
  assert moved({'pooler': before['pooler']}, params) == {'pooler'}


@pytest.mark.parametrize('number', [2, -2])
def test_no_more_layers_can_be_frozen_than_there_are(
  folder, pretrained, number
):
  config = config_of(folder, pretrained, **{'bert.frozen_layers': number})
  with pytest.raises(
    ValueError, match=f'frozen_layers must be at most the 1 .* got {number}'
  ):
    make_problem(config, progress=False)


def test_all_is_trained_if_the_config_does_not_say(folder):
  problem = make_problem(small_bert.config_of(folder), progress=False)
  assert problem.is_frozen is None
