"""Directories of BERTs that are damaged, hostile, or not there."""

import contextlib
import json
import os
import struct
import sys
import types
import warnings

import numpy as np
import pytest

import embedcomp
from tests.io.bert.directories import (
  QUERY,
  SHAPES,
  WORDS,
  D,
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


@pytest.mark.parametrize(
  ('fields', 'match'),
  [
    ({'model_type': 'gpt2'}, "model_type must be one of .*, got 'gpt2'"),
    ({'model_type': None}, 'model_type must be one of .*, got None'),
    ({'model_type': ['bert']}, 'model_type must be one of'),
    (
      {'position_embedding_type': 'relative_key'},
      "position_embedding_type must be 'absolute', got 'relative_key'",
    ),
    ({'is_decoder': True}, 'is_decoder must be False, got True'),
    ({'add_cross_attention': True}, 'add_cross_attention must be False'),
    ({'is_encoder_decoder': True}, 'is_encoder_decoder must be False'),
    ({'hidden_act': 'mish'}, "hidden_act must be one of .*, got 'mish'"),
    ({'embedding_size': 4}, 'embedding_size must be hidden_size 6, got 4'),
    ({'pruned_heads': {'0': [1]}}, 'pruned_heads must be empty'),
    ({'vocab_size': '11'}, "vocab_size must be an int .*, got '11'"),
    ({'hidden_size': -6}, 'hidden_size must be an int of at least 1'),
    ({'hidden_dropout_prob': 'nan'}, 'hidden_dropout_prob must be a number'),
    ({'layer_norm_eps': float('nan')}, 'layer_norm_eps must be a number'),
    ({'pad_token_id': None}, 'pad_token_id must be an int'),
    ({'num_hidden_layers': 10**9}, r'num_hidden_layers must be that of'),
  ],
)
def test_configs_that_are_not_supported_are_refused(folder, fields, match):
  write(folder, None, fields)
  with pytest.raises(ValueError, match=match):
    embedcomp.from_pretrained(folder)


@pytest.mark.parametrize(
  ('text', 'match'),
  [
    ('', 'must be JSON text'),
    ('[' * 100_000, 'must be JSON text'),
    ('[]', 'must be a JSON object, got list'),
    ('{"a": 1, "a": 2}', "'a' occurs twice"),
    (b'\xff\xfe\xff', 'must be JSON text'),
    ('{"model_type": "bert", "vocab_size": 3}', r"\['hidden_size', .* missing"),
  ],
)
def test_malformed_configs_are_refused(folder, text, match):
  data = text if isinstance(text, bytes) else text.encode()
  (folder / 'config.json').write_bytes(data)
  with pytest.raises(ValueError, match=match):
    embedcomp.from_pretrained(folder)


@pytest.mark.parametrize('labels', [3, [], ['a', 'b']])
def test_malformed_labels_are_refused(folder, labels):
  write(folder, None, {'id2label': labels})
  embedcomp.from_pretrained(folder)  # nobody asked
  with pytest.raises(ValueError, match='id2label must be an object'):
    embedcomp.from_pretrained(folder, head='classification')


# Damage


@pytest.mark.parametrize('name', [n for n in SHAPES if 'pooler' not in n])
def test_what_an_encoder_lacks_is_listed(tmp_path, tensors, name):
  del tensors[name]
  with pytest.raises(ValueError, match=rf"lacks \['{name}'\]"):
    embedcomp.from_pretrained(write(tmp_path / 'model', tensors))


@pytest.mark.parametrize(
  ('name', 'array', 'match'),
  [
    (WORDS, np.zeros((V + 1, D), np.float32), r'\[11, 6\] .*F32\[12, 6\]'),
    (QUERY, np.zeros(D * D, np.float32), r'must be floats \[6, 6\]'),
    (WORDS, np.zeros((V, D), np.int64), r'floats \[11, 6\] .*got I64'),
    (QUERY, np.full((D, D), np.nan, np.float32), 'must be finite'),
    (QUERY, np.full((D, D), 1e300), 'must be finite in float32'),
    ('pooler.dense.bias', np.zeros(2, np.float32), 'pooler.dense.bias must be'),
  ],
)
def test_tensors_that_contradict_the_config_are_named(
  tmp_path, tensors, name, array, match
):
  path = write(tmp_path / 'model', tensors | {name: array})
  with pytest.raises(ValueError, match=match) as error:
    embedcomp.from_pretrained(path)
  assert name in str(error.value)


def test_half_a_pooler_is_damage(tmp_path, tensors):
  del tensors['pooler.dense.bias']
  with pytest.raises(ValueError, match=r"lacks \['pooler.dense.bias'\]"):
    embedcomp.from_pretrained(write(tmp_path / 'model', tensors))


@pytest.mark.parametrize('share', [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(folder, share):
  path = folder / 'model.safetensors'
  data = path.read_bytes()
  path.write_bytes(data[: int(share * len(data))])
  with pytest.raises(ValueError, match=r'model\.safetensors is damaged'):
    embedcomp.from_pretrained(folder)


@pytest.mark.parametrize(
  'data',
  [
    b'not tensors at all',
    struct.pack('<Q', 2**63) + b'{}',
    struct.pack('<Q', 2) + b'[]',
    b'\x80\x04\x95pickled',
    b'PK\x03\x04' + bytes(100),
  ],
)
def test_another_kind_of_file_is_refused(folder, data):
  (folder / 'model.safetensors').write_bytes(data)
  with pytest.raises(ValueError, match=r'model\.safetensors is damaged'):
    embedcomp.from_pretrained(folder)


def test_flipped_bits_of_a_header_are_errors_or_harmless(folder, rng):
  path = folder / 'model.safetensors'
  data = path.read_bytes()
  (length,) = struct.unpack('<Q', data[:8])
  for at in rng.integers(0, 8 + length, 60):
    broken = bytearray(data)
    broken[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(broken)
    with warnings.catch_warnings(), contextlib.suppress(ValueError):
      warnings.simplefilter('ignore')  # of names that nobody knows
      embedcomp.from_pretrained(folder)


def test_pickles_are_refused_with_a_way_out(folder):
  (folder / 'model.safetensors').unlink()
  with pytest.raises(FileNotFoundError, match=r'has no model\.safetensors'):
    embedcomp.from_pretrained(folder)
  (folder / 'pytorch_model.bin').write_bytes(b'\x80\x04.')
  with pytest.raises(ValueError, match='pickle may run any code') as error:
    embedcomp.from_pretrained(folder)
  assert 'save_pretrained' in str(error.value)


def test_a_pipe_in_place_of_a_file_does_not_block(folder):
  for name in ('model.safetensors', 'config.json'):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ValueError, match=f'{name} must be a file'):
      embedcomp.from_pretrained(folder)


@pytest.mark.parametrize(
  ('place', 'match'),
  [
    ('../model/model.safetensors', 'must be in a file'),
    ('/etc/passwd', 'must be in a file'),
    ('model.bin', 'must be in a file'),
    (3, 'must be in a file'),
    ('two.safetensors', r"two.safetensors lacks \['embeddings.word_emb"),
    ('three.safetensors', r"lacks \['three.safetensors'\]"),
  ],
)
def test_shards_are_where_they_may_be(tmp_path, tensors, place, match):
  index = write_shards(tmp_path / 'shards', tensors)
  index['weight_map'][WORDS] = place
  path = tmp_path / 'shards' / 'model.safetensors.index.json'
  path.write_text(json.dumps(index))
  with pytest.raises((ValueError, FileNotFoundError), match=match):
    embedcomp.from_pretrained(tmp_path / 'shards')


@pytest.mark.parametrize('text', ['{}', '[]', '{"weight_map": {}}', 'x'])
def test_a_malformed_index_is_refused(tmp_path, tensors, text):
  write_shards(tmp_path / 'shards', tensors)
  path = tmp_path / 'shards' / 'model.safetensors.index.json'
  path.write_text(text)
  with pytest.raises(ValueError, match=r'index\.json is not valid'):
    embedcomp.from_pretrained(tmp_path / 'shards')


# Names of the hub


def test_a_name_of_the_hub_is_fetched(folder, monkeypatch):
  calls = []

  def snapshot_download(name, allow_patterns):
    calls.append(name)
    assert 'config.json' in allow_patterns
    assert not any('bin' in pattern for pattern in allow_patterns[:3])
    return str(folder)

  hub = types.SimpleNamespace(snapshot_download=snapshot_download)
  monkeypatch.setitem(sys.modules, 'huggingface_hub', hub)
  found = embedcomp.from_pretrained('org/model')[1]
  assert calls == ['org/model']
  assert_same(found, embedcomp.from_pretrained(folder)[1])


def test_what_cannot_be_fetched_is_said(monkeypatch):
  def snapshot_download(*args, **kwargs):
    raise ConnectionError('no route to host')

  hub = types.SimpleNamespace(snapshot_download=snapshot_download)
  monkeypatch.setitem(sys.modules, 'huggingface_hub', hub)
  with pytest.raises(OSError, match=r'org/model.*no route.*network'):
    embedcomp.from_pretrained('org/model')
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  with pytest.raises(FileNotFoundError, match=r'embedcomp\[hub\]'):
    embedcomp.from_pretrained('org/model')


def test_paths_are_never_looked_up_on_the_hub(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  for path in (tmp_path / 'none', './none', '../a/b', 'a/b/c'):
    with pytest.raises(FileNotFoundError, match='there is no directory'):
      embedcomp.from_pretrained(path)
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='must be a directory'):
    embedcomp.from_pretrained(tmp_path / 'file')
  with pytest.raises(FileNotFoundError):
    embedcomp.from_pretrained(tmp_path)  # no config.json
