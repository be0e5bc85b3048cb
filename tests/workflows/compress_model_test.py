"""A directory compressed by the library: what is checked before any work."""

import pytest

import embedcomp
from embedcomp.io.bert import pretrained
from embedcomp.nn.bert.encoder import Bert
from embedcomp.workflows import export_model, model_info, read_model
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
    ({'texts': TEXTS[0]}, 'texts must be several str'),
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


def test_texts_without_a_token_are_refused(model_dir, tmp_path):
  with pytest.raises(ValueError, match='must hold some text'):
    compress(model_dir, tmp_path / 'new', texts=[])
  assert not (tmp_path / 'new').exists()
