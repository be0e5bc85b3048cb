"""The command `embedcomp`: what it compresses is still the same model."""

import numpy as np
import pytest

import embedcomp
from embedcomp.cli import main
from embedcomp.data.subword_tokenizer import SubwordTokenizer
from embedcomp.nn.bert.encoder import Bert
from tests.data.tiny_tokenizers import TEXTS, tiny
from tests.small_berts import write_model

TEXT = '\n'.join([*TEXTS, '', 'the dog, the dog'])


def write_encoder(folder, kind, model_type):
  """A tiny model whose table has three rows more than there are pieces."""
  tokenizer = tiny(kind)
  params = write_model(
    folder,
    Bert,
    tokenizer,
    vocab_size=len(tokenizer) + 3,
    model_type=model_type,
  )
  return tokenizer, params['embedder']['embedding']


def compress(tmp_path, *flags):
  (tmp_path / 'text.txt').write_text(TEXT)
  main.main(
    [
      'compress',
      str(tmp_path / 'model'),
      str(tmp_path / 'small'),
      '--budget=3x',
      f'--text={tmp_path / "text.txt"}',
      *flags,
    ]
  )
  model, params = embedcomp.from_pretrained(tmp_path / 'small')
  tokenizer = SubwordTokenizer.load(tmp_path / 'small')
  return model.embedder.scheme, params['embedder'], tokenizer


@pytest.mark.parametrize(
  ('kind', 'model_type', 'flags'),
  [
    ('WordPiece', 'bert', ()),
    ('WordPiece', 'bert', ('--keep-ids',)),
    ('BPE', 'roberta', ()),
    ('Unigram', 'xlm-roberta', ()),
  ],
)
def test_texts_keep_their_vectors(kind, model_type, flags, tmp_path):
  old, table = write_encoder(tmp_path / 'model', kind, model_type)
  scheme, words, new = compress(tmp_path, *flags)
  assert scheme.num_bytes <= table.nbytes / 3
  assert scheme.order == ('stored' if flags else 'identity')
  assert new.pad_id == old.pad_id
  before = np.concatenate([text.ids for text in old.encode(TEXTS)])
  after = np.concatenate([text.ids for text in new.encode(TEXTS)])
  error = np.asarray(embedcomp.lookup(scheme, words, after)) - table[before]
  assert np.linalg.norm(error) < 0.1 * np.linalg.norm(table[before])


def test_ids_follow_frequency_but_for_special_tokens_at_the_start(tmp_path):
  old, _ = write_encoder(tmp_path / 'model', 'WordPiece', 'bert')
  _, _, new = compress(tmp_path)
  lines = [line for line in TEXT.splitlines() if line]
  assert new.special_ids == old.special_ids == (0, 1, 2, 3, 4)
  assert (new.pad_id, new.num_fixed) == (0, 5)
  counts = new.count(lines, special=True)[5:]
  assert counts[0] == old.count(lines, special=True)[5:].max()
  assert (np.diff(counts) <= 0).all()


def test_ids_stay_where_tokenizers_have_them_built_in(tmp_path):
  old, _ = write_encoder(tmp_path / 'model', 'Unigram', 'xlm-roberta')
  _, _, new = compress(tmp_path)
  assert new.special_ids == old.special_ids
  for use in ('pad', 'unk', 'cls', 'sep', 'mask'):
    assert getattr(new, f'{use}_id') == getattr(old, f'{use}_id')


def test_kept_ids_leave_the_tokenizer_alone(tmp_path):
  write_encoder(tmp_path / 'model', 'WordPiece', 'bert')
  compress(tmp_path, '--keep-ids')
  files = [
    (tmp_path / folder / 'tokenizer.json').read_bytes()
    for folder in ('model', 'small')
  ]
  assert files[0] == files[1]


def test_what_is_compressed_already_is_refused(tmp_path):
  write_encoder(tmp_path / 'model', 'WordPiece', 'bert')
  compress(tmp_path)
  (tmp_path / 'model').rename(tmp_path / 'dense')
  (tmp_path / 'small').rename(tmp_path / 'model')
  with pytest.raises(SystemExit, match='is compressed already'):
    compress(tmp_path)
