"""Subwords against the library, against hand-worked ones, and renumbered."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from tokenizers import Tokenizer

from embedcomp.data import cache_folder
from embedcomp.data.datasets import pip_files
from embedcomp.data.subword_tokenizer import SubwordTokenizer
from tests.data.tiny_tokenizers import (
  BERT,
  KINDS,
  ROBERTA,
  TEXTS,
  fields_of,
  tiny,
  trained,
)

PIECES = [*BERT, 'the', 'cat', '##s', 'sat', ',', 'cafe', '']
TEXT = st.text(st.sampled_from('catsdogthe ,.?é\u4e2d'), max_size=40) | (
  st.sampled_from([*TEXTS, '[MASK] cat', 'a<mask>b', 'a dog? dogs', '</s>'])
)


def write(folder, **files):
  folder.mkdir(exist_ok=True)
  for name, content in files.items():
    content = content if isinstance(content, str) else json.dumps(content)
    stem, _, suffix = name.rpartition('_')
    (folder / f'{stem}.{suffix}').write_text(content)
  return folder


def ids_of(tokenizer, *texts, **options):
  return [e.ids.tolist() for e in tokenizer.encode(*texts, **options)]


def test_word_pieces_by_hand(tmp_path):
  folder = write(tmp_path, vocab_txt='\n'.join(PIECES))
  tokenizer = SubwordTokenizer.load(folder)
  assert tokenizer.vocab_size == len(tokenizer) == 11
  assert ids_of(tokenizer, ['The CATS, café', 'dog']) == [
    [2, 5, 6, 7, 9, 10, 3],
    [2, 1, 3],
  ]
  (pair,) = tokenizer.encode(['the cats'], ['sat'])
  assert pair.ids.tolist() == [2, 5, 6, 7, 3, 8, 3]
  assert pair.token_types.tolist() == [0, 0, 0, 0, 0, 1, 1]
  assert pair.ids.dtype == pair.token_types.dtype == np.int32
  assert ids_of(tokenizer, []) == []
  assert ids_of(tokenizer, ['']) == [[2, 3]]


def test_case_and_accents_are_as_the_settings_say(tmp_path):
  settings = {'do_lower_case': False, 'strip_accents': True}
  subwords = '\r\n'.join([*PIECES[:-1], 'The', ''])
  folder = write(tmp_path, vocab_txt=subwords, tokenizer_config_json=settings)
  tokenizer = SubwordTokenizer.load(folder)
  assert ids_of(tokenizer, ['The the Cat café']) == [[2, 11, 5, 1, 10, 3]]


def test_byte_pairs_by_hand(tmp_path):
  vocabulary = ['<s>', '<pad>', '</s>', '<unk>', 'c', 'a', 't', 'Ġ', 'at']
  vocabulary += ['cat', 'Ġcat', '<mask>']
  folder = write(
    tmp_path,
    vocab_json={piece: id for id, piece in enumerate(vocabulary)},
    merges_txt='#version: 0.2\na t\nc at\nĠ cat\n',
  )
  tokenizer = SubwordTokenizer.load(folder)
  assert ids_of(tokenizer, ['cat cat at <mask>']) == [
    [0, 9, 10, 7, 8, 11, 2],
  ]
  (pair,) = tokenizer.encode(['cat'], ['at'])
  assert pair.ids.tolist() == [0, 9, 2, 2, 8, 2]
  assert not pair.token_types.any()
  assert (tokenizer.pad_id, tokenizer.mask_id) == (1, 11)


@pytest.mark.parametrize('kind', KINDS)
def test_subwords_are_those_of_the_library(kind):
  plain = Tokenizer.from_str(trained(kind))
  plain.no_padding()
  plain.no_truncation()
  texts, pairs = TEXTS, TEXTS[::-1]
  found = tiny(kind).encode(texts, pairs)
  for encoded, text, pair in zip(found, texts, pairs):
    expected = plain.encode(text, pair)
    assert encoded.ids.tolist() == expected.ids
    assert encoded.token_types.tolist() == expected.type_ids


@pytest.mark.parametrize('kind', KINDS)
def test_special_tokens(kind):
  tokenizer = tiny(kind)
  names = BERT if kind == 'WordPiece' else ROBERTA
  expected = Tokenizer.from_str(trained(kind))
  uses = ('pad', 'unk', 'cls', 'sep', 'mask')
  order = (0, 1, 2, 3, 4) if kind == 'WordPiece' else (1, 3, 0, 2, 4)
  for use, place in zip(uses, order):
    found = getattr(tokenizer, f'{use}_id')
    assert found == expected.token_to_id(names[place]), use
  special = sorted(map(expected.token_to_id, names))
  assert tokenizer.special_ids == tuple(special)
  words = set(range(len(tokenizer))) - set(special)
  assert tokenizer.word_ids.tolist() == sorted(words)


def test_places_for_tokens_to_come_are_no_words(tmp_path):
  subwords = ['[PAD]', '[unused0]', '[UNK]', '[CLS]', '[SEP]', '[unused12]']
  folder = write(tmp_path, vocab_txt='\n'.join([*subwords, 'cat', '[', 'x']))
  assert SubwordTokenizer.load(folder).word_ids.tolist() == [6, 7, 8]


@pytest.mark.parametrize('kind', KINDS)
def test_tokens_are_by_id(kind):
  library = Tokenizer.from_str(trained(kind))
  tokens = tiny(kind).tokens
  assert len(tokens) == len(tiny(kind))
  assert {token: id for id, token in enumerate(tokens)} == library.get_vocab()


def test_ids_without_a_token_are_empty(tmp_path):
  folder = write(tmp_path, vocab_txt='\n'.join([*BERT, '', 'cat', '']))
  assert SubwordTokenizer.load(folder).tokens == (*BERT, '', 'cat')


def test_settings_name_special_tokens(tmp_path):
  subwords = '\n'.join(['cat', '<unknown>', '[PAD]', '[CLS]', '[SEP]'])
  tokenizer = SubwordTokenizer.load(
    write(
      tmp_path,
      vocab_txt=subwords,
      tokenizer_config_json={'unk_token': {'content': '<unknown>'}},
      special_tokens_map_json={'pad_token': '[PAD]', 'mask_token': '[MASK]'},
    )
  )
  assert (tokenizer.unk_id, tokenizer.pad_id) == (1, 2)
  assert ids_of(tokenizer, ['dog cat']) == [[3, 1, 0, 4]]
  with pytest.raises(ValueError, match=r'no mask token: neither \[MASK\] or'):
    _ = tokenizer.mask_id


def test_long_texts_are_cut_and_of_pairs_the_longer_one_first(tmp_path):
  tokenizer = SubwordTokenizer.load(
    write(tmp_path, vocab_txt='\n'.join(PIECES))
  )
  long, short = 'the cat sat ' * 9, 'sat the'
  assert ids_of(tokenizer, [long], max_length=5) == [[2, 5, 6, 8, 3]]
  assert ids_of(tokenizer, [long, short], [short, long], max_length=9) == [
    [2, 5, 6, 8, 5, 3, 8, 5, 3],
    [2, 8, 5, 3, 5, 6, 8, 5, 3],
  ]
  assert ids_of(tokenizer, [long], [long], max_length=7) == [
    [2, 5, 6, 3, 5, 6, 3],
  ]
  assert len(ids_of(tokenizer, [long])[0]) == 29, 'the limit is forgotten'
  for pairs, least in ((None, 2), ([short], 3)):
    with pytest.raises(
      ValueError, match=f'{least} special tokens, got {least}'
    ):
      tokenizer.encode([long], pairs, max_length=least)


@pytest.mark.parametrize('kind', KINDS)
def test_counts_are_of_subwords_alone(kind):
  tokenizer = tiny(kind)
  counts = tokenizer.count(iter(TEXTS * 700))
  assert counts.dtype == np.int64
  assert counts.shape == (tokenizer.vocab_size,)
  plain = Tokenizer.from_str(trained(kind))
  plain.no_padding()
  plain.no_truncation()
  expected = np.zeros_like(counts)
  for text in TEXTS:
    for id in plain.encode(text, add_special_tokens=False).ids:
      expected[id] += 700
  np.testing.assert_array_equal(counts, expected)
  assert not counts[[tokenizer.cls_id, tokenizer.sep_id]].any()
  subwords = np.concatenate(list(tokenizer.subwords(TEXTS)))
  np.testing.assert_array_equal(
    np.bincount(subwords, minlength=len(counts)) * 700, counts
  )


@pytest.mark.parametrize('kind', KINDS)
def test_counts_of_special_tokens_are_of_all_that_a_model_reads(kind):
  tokenizer = tiny(kind)
  tokenizer.encode(TEXTS, max_length=4)  # is about that call alone
  counts = tokenizer.count(TEXTS, special=True)
  encoded = np.concatenate([text.ids for text in tokenizer.encode(TEXTS)])
  np.testing.assert_array_equal(
    counts, np.bincount(encoded, minlength=tokenizer.vocab_size)
  )
  assert counts[tokenizer.cls_id] == len(TEXTS)


@pytest.mark.parametrize('kind', KINDS)
@hypothesis.given(
  texts=st.lists(TEXT, min_size=1, max_size=4),
  pairs=st.lists(TEXT, min_size=4, max_size=4),
  seed=st.integers(0, 99),
)
@hypothesis.settings(max_examples=25)
def test_reordered_subwords_are_the_same_subwords(kind, texts, pairs, seed):
  tokenizer = tiny(kind)
  order = np.random.default_rng(seed).permutation(tokenizer.vocab_size)
  new_ids = np.argsort(order)
  moved = tokenizer.reordered(order)
  assert moved.vocab_size == tokenizer.vocab_size
  assert moved.special_ids == tuple(sorted(new_ids[[*tokenizer.special_ids]]))
  for options in ({}, {'pairs': pairs[: len(texts)]}, {'max_length': 5}):
    found = moved.encode(texts, **options)
    for new, old in zip(found, tokenizer.encode(texts, **options)):
      np.testing.assert_array_equal(new.ids, new_ids[old.ids])
      np.testing.assert_array_equal(new.token_types, old.token_types)
  np.testing.assert_array_equal(
    moved.count(texts), tokenizer.count(texts)[order]
  )
  for use in ('pad', 'unk', 'cls', 'sep', 'mask'):
    old = getattr(tokenizer, f'{use}_id')
    assert getattr(moved, f'{use}_id') == new_ids[old]


@pytest.mark.parametrize('kind', KINDS)
def test_reordering_there_and_back_changes_nothing(kind, tmp_path):
  tokenizer = tiny(kind)
  order = np.random.default_rng(3).permutation(tokenizer.vocab_size)
  back = tokenizer.reordered(order).reordered(np.argsort(order))
  old, new = fields_of(tokenizer, tmp_path), fields_of(back, tmp_path)
  if kind == 'Unigram':  # added tokens have moved into the vocabulary
    assert new['model']['vocab'][:-2] == old['model']['vocab']
    old['model'] = new['model']
  assert new == old


@pytest.mark.parametrize('kind', KINDS)
def test_saved_tokenizers_come_back(kind, tmp_path):
  tokenizer = tiny(kind)
  order = np.random.default_rng(1).permutation(tokenizer.vocab_size)
  moved = tokenizer.reordered(order)
  moved.save(tmp_path / 'new' / 'folder')
  loaded = SubwordTokenizer.load(tmp_path / 'new' / 'folder')
  assert fields_of(loaded, tmp_path) == fields_of(moved, tmp_path)
  assert ids_of(loaded, TEXTS, TEXTS) == ids_of(moved, TEXTS, TEXTS)
  # What the library itself reads: padding and truncation are kept, too.
  plain = Tokenizer.from_file(str(tmp_path / 'tokenizer.json'))
  first = plain.encode(TEXTS[2])
  if kind == 'WordPiece':
    assert len(first.ids) == 12
    assert plain.padding['pad_id'] == moved.pad_id
  assert first.ids[0] == moved.cls_id


def test_word_pieces_are_saved_as_a_list_as_well(tmp_path):
  tokenizer = tiny('WordPiece')
  order = np.random.default_rng(2).permutation(tokenizer.vocab_size)
  moved = tokenizer.reordered(order)
  moved.save(tmp_path)
  (tmp_path / 'tokenizer.json').unlink()
  loaded = SubwordTokenizer.load(tmp_path)
  assert ids_of(loaded, TEXTS, TEXTS) == ids_of(moved, TEXTS, TEXTS)


def test_settings_are_saved_with_the_new_ids(tmp_path):
  settings = {
    'do_lower_case': True,
    'added_tokens_decoder': {'0': {'content': '[PAD]'}},
  }
  folder = write(
    tmp_path, vocab_txt='\n'.join(PIECES), tokenizer_config_json=settings
  )
  tokenizer = SubwordTokenizer.load(folder)
  tokenizer.reordered(np.roll(np.arange(11), 4)).save(tmp_path / 'new')
  saved = (tmp_path / 'new' / 'tokenizer_config.json').read_text()
  assert json.loads(saved) == settings | {
    'added_tokens_decoder': {'4': {'content': '[PAD]'}}
  }


def test_ids_without_a_piece_stay_without_one(tmp_path):
  subwords = [*PIECES[:6], '', *PIECES[6:]]
  tokenizer = SubwordTokenizer.load(
    write(tmp_path, vocab_txt='\n'.join(subwords))
  )
  assert tokenizer.vocab_size == 12
  moved = tokenizer.reordered(np.arange(12)[::-1])
  moved.save(tmp_path)
  lines = (tmp_path / 'vocab.txt').read_text().split('\n')
  assert lines == [*subwords[-2::-1], '']
  assert ids_of(moved, ['the cat']) == [[9, 6, 4, 8]]


@pytest.mark.parametrize(
  ('files', 'message'),
  [
    ({}, r'must have tokenizer.json, vocab.txt, .* got \[\]'),
    ({'sentencepiece_model': 'x'}, r"got \['sentencepiece.model'\]"),
    ({'vocab_json': {'a': 0}}, r"got \['vocab.json'\]"),
    ({'tokenizer_json': '{'}, 'tokenizer.json is not a tokenizer: '),
    ({'tokenizer_json': '{"model": 3}'}, 'is not a tokenizer: '),
    ({'vocab_txt': 'a\nb\n'}, r'must have a token \[UNK\] or <unk>'),
    ({'vocab_txt': 'a\n' * 2}, 'has a piece twice'),
    ({'vocab_json': '[]', 'merges_txt': ''}, 'must hold an object'),
    ({'vocab_json': '{"a": 0, "a": 1}', 'merges_txt': ''}, "'a' occurs twice"),
    (
      {'vocab_json': {'<s>': 0, '</s>': 1}, 'merges_txt': 'a b c d\n'},
      'merges.txt: ',
    ),
    (
      {'tokenizer_config_json': '{', 'vocab_txt': 'a'},
      'tokenizer_config.json is not JSON',
    ),
  ],
)
def test_malformed_folders(tmp_path, files, message):
  with pytest.raises(ValueError, match=message):
    SubwordTokenizer.load(write(tmp_path, **files))


def test_other_malformed_folders(tmp_path):
  with pytest.raises(FileNotFoundError, match='no folder'):
    SubwordTokenizer.load(tmp_path / 'missing')
  (tmp_path / 'vocab.txt').write_bytes(b'\xff\n')
  with pytest.raises(ValueError, match='must be UTF-8'):
    SubwordTokenizer.load(tmp_path)
  empty = Tokenizer.from_str(trained('WordPiece')).to_str()
  fields = json.loads(empty)
  fields['model']['vocab'], fields['added_tokens'] = {}, []
  fields['post_processor'] = None
  write(tmp_path, tokenizer_json=fields)
  with pytest.raises(ValueError, match='has no tokens'):
    SubwordTokenizer.load(tmp_path)


@pytest.mark.parametrize('order', [[0, 1], [0] * 80, [0.5] * 80])
def test_wrong_orders(order):
  with pytest.raises(ValueError, match='must hold each id once'):
    tiny('Unigram').reordered(order)


def test_tokens_whose_new_id_would_change_texts_are_refused():
  fields = json.loads(trained('Unigram'))
  fields['added_tokens'][-1]['single_word'] = True
  tokenizer = SubwordTokenizer(json.dumps(fields), {})
  with pytest.raises(ValueError, match=r"added token 'dog\?' cannot"):
    tokenizer.reordered(np.arange(tokenizer.vocab_size))


def test_wrong_texts():
  tokenizer = tiny('BPE')
  with pytest.raises(ValueError, match='a sequence of str'):
    tokenizer.encode('text')
  with pytest.raises(ValueError, match=r'each of 1 texts .* got 2'):
    tokenizer.encode(['a'], ['b', 'c'])
  with pytest.raises(ValueError, match='halves of surrogate pairs'):
    tokenizer.encode(['\ud800'])
  with pytest.raises(ValueError, match='must be several str'):
    tokenizer.count('text')


def test_a_real_vocabulary_with_other_ids(tmp_path):
  name, version, _ = pip_files.MINILM_WHEEL
  folder = cache_folder() / f'{name}-{version}'
  if not folder.exists():
    pytest.skip(f'{folder} has not been fetched.')
  tokenizer = SubwordTokenizer.load(folder)
  assert tokenizer.vocab_size == 30_522
  assert ids_of(tokenizer, ['Hello, world!']) == [
    [101, 7592, 1010, 2088, 999, 102],
  ]
  order = np.random.default_rng(0).permutation(30_522)
  moved = tokenizer.reordered(order)
  moved.save(tmp_path)
  new_ids = np.argsort(order)
  for other in (moved, SubwordTokenizer.load(tmp_path)):
    for new, old in zip(other.encode(TEXTS), tokenizer.encode(TEXTS)):
      np.testing.assert_array_equal(new.ids, new_ids[old.ids])


def test_padding_is_to_stay_and_special_tokens_that_come_first():
  found = {kind: tiny(kind).fixed_ids for kind in KINDS}
  assert found['WordPiece'] == found['BPE'] == [0, 1, 2, 3, 4]
  unigram = tiny('Unigram')
  assert found['Unigram'] == [0, 1, 2, 3, unigram.mask_id]
  # As in BERT's own files: padding first, the others far behind.
  old = tiny('WordPiece')
  order = np.concatenate([[0], np.arange(5, old.vocab_size), np.arange(1, 5)])
  assert old.reordered(order).fixed_ids == [0]
  # Padding elsewhere, and all before it.
  order = np.arange(old.vocab_size)
  order[[0, 6]] = 6, 0
  moved = old.reordered(order)
  assert (moved.pad_id, moved.num_fixed) == (6, 7)
