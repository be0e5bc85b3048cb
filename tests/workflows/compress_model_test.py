"""A directory compressed by the library: what is checked before any work."""

import json

import numpy as np
import pytest

import embedcomp
from embedcomp.data.subword_tokenizer import SubwordTokenizer
from embedcomp.io.bert import pretrained
from embedcomp.nn.bert.encoder import Bert
from embedcomp.workflows import (
  compress_model,
  export_model,
  model_info,
  read_model,
)
from embedcomp.workflows.sentence_metric import sentence_metric
from embedcomp.workflows.sentence_model import SentenceModel
from tests.data.tiny_tokenizers import TEXTS, tiny
from tests.small_berts import write_model


@pytest.fixture(scope='module')
def model_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('models') / 'dense'
  write_model(folder, Bert, tiny('WordPiece'))
  return folder


def compress(model_dir, output, **options):
  options = {'budget': '4x', 'texts': TEXTS, 'progress': False} | options
  return embedcomp.compress_model(model_dir, output, **options)


def test_what_is_written_is_what_is_returned(model_dir, tmp_path):
  found = compress(model_dir, tmp_path / 'a' / 'b', weights='int8')
  assert found == model_info.model_info(tmp_path / 'a' / 'b')
  assert found.table_bytes == found.scheme.num_bytes
  assert found.table_bytes <= found.dense_table_bytes / 4
  assert found.model_bytes == found.table_bytes + found.other_bytes
  assert found.weight_dtype == 'int8'


def test_methods_may_be_chosen(model_dir, tmp_path):
  found = compress(model_dir, tmp_path / 'new', methods=['low_rank'])
  assert {group.method.name for group in found.scheme.groups} == {'low_rank'}


@pytest.mark.parametrize(
  ('options', 'reason'),
  [
    ({'budget': 2.5}, 'budget must be'),
    ({'budget': 'small'}, 'budget must be'),
    ({'budget': '0.5x'}, "a factor of at least 1 as '40x', got '0.5x'"),
    ({'texts': TEXTS[0]}, 'texts must be several str'),
    ({'wide_texts': TEXTS[0]}, 'wide_texts must be several str'),
    ({'methods': ['vector']}, 'vector'),
    ({'weights': 'int4'}, "weights must be None or one of .* got 'int4'"),
    ({'seed': -1}, 'seed must be'),
    ({'head': 'sentences'}, 'head must be one of'),
  ],
)
def test_options_are_checked_before_weights_are_read(
  model_dir, tmp_path, monkeypatch, options, reason
):
  monkeypatch.setattr(pretrained.safetensors_files, 'open_tensors', None)
  with pytest.raises(ValueError, match=reason):
    compress(model_dir, tmp_path / 'new', **options)
  assert not (tmp_path / 'new').exists()


def test_folders_are_checked_before_files_are_read(
  model_dir, tmp_path, monkeypatch
):
  monkeypatch.setattr(read_model, 'from_pretrained', None)
  (tmp_path / 'file').touch()
  for output in (tmp_path, tmp_path / 'file', tmp_path / 'file' / 'new'):
    with pytest.raises(ValueError, match='output_dir must be'):
      compress(model_dir, output)
    with pytest.raises(ValueError, match='output_dir must be'):
      export_model.export_model(model_dir, output)
  with pytest.raises(ValueError, match='model_dir must be a directory'):
    compress(tmp_path / 'nothing', tmp_path / 'new')


@pytest.mark.parametrize('name', ['texts', 'wide_texts'])
@pytest.mark.parametrize('texts', [[], [''], ['\u6f22\u5b57', '\u4eee']])
def test_texts_without_a_known_word_are_refused(
  model_dir, tmp_path, name, texts
):
  with pytest.raises(ValueError, match=f'{name} must hold some word that'):
    compress(model_dir, tmp_path / 'new', **{name: texts})
  assert not (tmp_path / 'new').exists()


def test_without_texts_tokens_are_in_the_order_of_the_vocabulary(
  model_dir, tmp_path
):
  compress(model_dir, tmp_path / 'new', texts=None)
  old, new = (
    SubwordTokenizer.load(path) for path in (model_dir, tmp_path / 'new')
  )
  ranks = embedcomp.frequency.expected_counts(tokens=old.tokens)
  moved = np.setdiff1d(np.arange(len(new)), new.fixed_ids)
  assert (np.diff(ranks[new.ids_in(old)[moved]]) <= 0).all()


def test_texts_of_other_kinds_count_as_well(model_dir, tmp_path):
  """And less than those like what will be read."""
  given = {
    'none': {'texts': None},
    'other': {'texts': None, 'wide_texts': ['sat sat sat sat']},
    'both': {'texts': ['mat mat mat mat'], 'wide_texts': ['sat sat sat sat']},
  }
  for name, texts in given.items():
    compress(model_dir, tmp_path / name, **texts)
  ids = {}
  for name in given:
    tokenizer = SubwordTokenizer.load(tmp_path / name)
    ids[name] = {token: id for id, token in enumerate(tokenizer.tokens)}
  assert ids['other']['sat'] < ids['none']['sat']
  assert ids['both']['mat'] < ids['both']['sat'] < ids['none']['sat']


@pytest.mark.parametrize(
  ('methods', 'is_measured'),
  [(('dense', 'scalar'), True), (['low_rank'], False)],
)
def test_the_model_tells_which_errors_matter(
  model_dir, tmp_path, monkeypatch, methods, is_measured
):
  given = []

  def remember(*args, metric, **kwargs):
    given.append(metric)
    return compress_table(*args, metric=metric, **kwargs)

  compress_table = compress_model.compress_table
  monkeypatch.setattr(compress_model, 'compress_table', remember)
  compress(model_dir, tmp_path / 'new', methods=methods, texts=None)
  if not is_measured:
    assert given == [None]
    return
  model = SentenceModel.load(model_dir)
  counts = embedcomp.frequency.expected_counts(tokens=model.tokenizer.tokens)
  expected = sentence_metric(model, counts, progress=False)
  np.testing.assert_allclose(given[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('padding', [0, 1])
def test_padding_is_what_the_tokenizer_says(tmp_path, padding):
  """Configs of multilingual BERTs name another token, which texts begin with.

  Vectors are those of a directory whose config agrees.
  """
  tokenizer = tiny('BPE')  # <s> is 0 and <pad> is 1
  write_model(tmp_path / 'old', Bert, tokenizer, pad_token_id=padding)
  compress(tmp_path / 'old', tmp_path / 'new')
  config = json.loads((tmp_path / 'new' / 'config.json').read_text())
  assert config['pad_token_id'] == tokenizer.pad_id == 1
  write_model(tmp_path / 'right', Bert, tokenizer)
  found, expected = (
    SentenceModel.load(tmp_path / name)(TEXTS) for name in ('old', 'right')
  )
  np.testing.assert_array_equal(found, expected)


def test_nothing_is_measured_for_a_budget_above_the_table(
  model_dir, tmp_path, monkeypatch
):
  monkeypatch.setattr(compress_model, 'sentence_metric', None)
  with pytest.raises(ValueError, match='nothing is left to save'):
    compress(model_dir, tmp_path / 'new', budget=10**9)
