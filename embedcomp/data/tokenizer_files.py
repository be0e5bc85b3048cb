"""Tokenizer files of model directories, with the same or other ids.

A `tokenizer.json` of the `tokenizers` library says all; the older `vocab.txt`
(WordPiece) and `vocab.json` with `merges.txt` (byte-level BPE) say only the
subwords, and how BERT's and RoBERTa's tokenizers go about it is filled in.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
import tokenizers.decoders
import tokenizers.models
import tokenizers.normalizers
import tokenizers.pre_tokenizers
import tokenizers.processors

from embedcomp._internal.strict_json import unique_fields
from embedcomp.io import files

Fields = dict[str, Any]
# Files beside the tokenizer that say which special tokens there are.
SETTINGS = ('tokenizer_config.json', 'special_tokens_map.json')
# By use: what the special tokens of BERT and of RoBERTa are called.
SPECIAL_TOKENS = {
  'pad': ('[PAD]', '<pad>'),
  'unk': ('[UNK]', '<unk>'),
  'cls': ('[CLS]', '<s>'),
  'sep': ('[SEP]', '</s>'),
  'mask': ('[MASK]', '<mask>'),
}


def read(folder: Path) -> tuple[Any, dict[str, Fields]]:
  """Reads the tokenizer of a model directory.

  Args:
    folder: of the model.

  Returns:
    A `tokenizers.Tokenizer`, and the fields of those of `SETTINGS` there are.

  Raises:
    FileNotFoundError: if there is no folder.
    ValueError: if it has no tokenizer, or a malformed one.
  """
  if not folder.is_dir():
    raise FileNotFoundError(f'no folder {folder} to read a tokenizer from.')
  settings = {
    name: _read_json(folder / name)
    for name in SETTINGS
    if (folder / name).exists()
  }
  readers: dict[tuple[str, ...], Callable[..., Any]] = {
    ('tokenizer.json',): _read_whole,
    ('vocab.txt',): _read_word_pieces,
    ('vocab.json', 'merges.txt'): _read_byte_pairs,
  }
  for names, reader in readers.items():
    paths = [folder / name for name in names]
    if all(path.exists() for path in paths):
      return reader(*paths, settings), settings
  raise ValueError(
    f'{folder} must have tokenizer.json, vocab.txt, or vocab.json and '
    f'merges.txt, got {sorted(path.name for path in folder.iterdir())}; '
    'transformers writes a tokenizer.json of any fast tokenizer.'
  )


def find_special(
  use: str, settings: Mapping[str, Fields], vocabulary: Mapping[str, int]
) -> str | None:
  """Finds the special token for a use.

  Args:
    use: one of `SPECIAL_TOKENS`.
    settings: fields by file, of `read`.
    vocabulary: ids of tokens.

  Returns:
    The token that the settings name, else the first usual one; None if it is
    not in the vocabulary.
  """
  named = [settings.get(file, {}).get(f'{use}_token') for file in SETTINGS]
  named = [n.get('content') if isinstance(n, dict) else n for n in named]
  for token in (*named, *SPECIAL_TOKENS[use]):
    if isinstance(token, str) and token in vocabulary:
      return token
  return None


def renumbered(fields: Fields, order: Sequence[int]) -> Fields:
  """Gives the tokens of a tokenizer other ids.

  Added tokens move into the model's own vocabulary, for only there can a token
  have any id. They are cut out of a text before the model sees it.

  Args:
    fields: of a `tokenizer.json`, as the library writes it.
    order: of all ids, the old one of each new one.

  Returns:
    The fields of another.

  Raises:
    ValueError: for a part of it whose ids are not known.
  """
  new_ids = {old: new for new, old in enumerate(order)}
  added = fields['added_tokens']
  padding = fields['padding'] and dict(
    fields['padding'], pad_id=new_ids[fields['padding']['pad_id']]
  )
  return {
    **fields,
    'padding': padding,
    'added_tokens': sorted(
      (dict(token, id=new_ids[token['id']]) for token in added),
      key=lambda token: token['id'],
    ),
    'post_processor': _renumbered_processor(fields['post_processor'], new_ids),
    'model': _renumbered_model(fields['model'], added, new_ids),
  }


def renumbered_settings(settings: Mapping[str, Fields], order: Sequence[int]):
  """Gives the tokens in `SETTINGS` their `renumbered` ids."""
  new_ids = {str(old): str(new) for new, old in enumerate(order)}
  changed = {name: dict(fields) for name, fields in settings.items()}
  for fields in changed.values():
    if 'added_tokens_decoder' in fields:
      by_id = fields['added_tokens_decoder'].items()
      fields['added_tokens_decoder'] = {new_ids.get(i, i): t for i, t in by_id}
  return changed


def _renumbered_model(model: Fields, added: list[Fields], new_ids) -> Fields:
  """Puts all tokens into the vocabulary of the model, with other ids."""
  is_list = model['type'] == 'Unigram'
  known = {token for token, _ in model['vocab']} if is_list else model['vocab']
  outside = [token for token in added if token['content'] not in known]
  for token in outside:
    if token['single_word']:
      raise ValueError(
        f'the added token {token["content"]!r} cannot get another id: it '
        'counts as a whole word only, and inside of words the model would see '
        'it; add it without single_word.'
      )
  if not is_list:
    ids = model['vocab'] | {t['content']: t['id'] for t in outside}
    vocabulary = {token: new_ids[old] for token, old in ids.items()}
    by_id = sorted(vocabulary.items(), key=lambda item: item[1])
    return {**model, 'vocab': dict(by_id)}
  # A score below the others would change what an unknown character costs.
  lowest = min(score for _, score in model['vocab'])
  scored = model['vocab'] + [[t['content'], lowest] for t in outside]
  in_new_order = [scored[old] for old in new_ids]
  unknown = model['unk_id']
  unknown = None if unknown is None else new_ids[unknown]
  return {**model, 'vocab': in_new_order, 'unk_id': unknown}


def _renumbered_processor(processor: Fields | None, new_ids) -> Fields | None:
  """Renumbers the processor that puts special tokens around texts."""
  if processor is None or processor['type'] == 'ByteLevel':
    return processor
  kind = processor['type']
  if kind == 'Sequence':
    parts = [_renumbered_processor(p, new_ids) for p in processor['processors']]
    return {**processor, 'processors': parts}
  if kind == 'TemplateProcessing':
    tokens = {
      name: dict(token, ids=[new_ids[id] for id in token['ids']])
      for name, token in processor['special_tokens'].items()
    }
    return {**processor, 'special_tokens': tokens}
  if kind in ('BertProcessing', 'RobertaProcessing'):
    changed = dict(processor)
    for name in ('sep', 'cls'):
      token, id = processor[name]
      changed[name] = [token, new_ids[id]]
    return changed
  raise ValueError(f'the ids in a post-processor {kind!r} are not known.')


def _read_json(path: Path) -> Fields:
  """Reads the JSON object in a file."""
  with files.open_regular(path) as file:
    data = file.read()
  try:
    fields = json.loads(data.decode(), object_pairs_hook=unique_fields)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{path} is not JSON: {error}') from None
  if not isinstance(fields, dict):
    raise ValueError(f'{path} must hold an object, got {type(fields)}.')
  return fields


def _read_whole(path: Path, settings):
  """Reads the tokenizer of a `tokenizer.json`."""
  del settings  # of no concern: the file says all
  with files.open_regular(path) as file:
    data = file.read()
  try:
    return tokenizers.Tokenizer.from_str(data.decode())
  except Exception as error:  # the library raises no other
    raise ValueError(f'{path} is not a tokenizer: {error}') from None


def _read_word_pieces(path: Path, settings):
  """Makes BERT's tokenizer with the subwords of a `vocab.txt`."""
  with files.open_regular(path) as file:
    data = file.read()
  try:
    lines = data.decode().replace('\r\n', '\n').split('\n')
  except UnicodeDecodeError as error:
    raise ValueError(f'{path} must be UTF-8: {error}.') from None
  vocabulary = {line: number for number, line in enumerate(lines) if line}
  if len(vocabulary) < sum(map(bool, lines)):
    raise ValueError(f'{path} has a piece twice; its ids are not certain.')
  special = _all_special(path, settings, vocabulary, ('unk', 'cls', 'sep'))
  options = settings.get('tokenizer_config.json', {})
  tokenizer = tokenizers.Tokenizer(
    tokenizers.models.WordPiece(vocabulary, unk_token=special['unk'])
  )
  tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(
    lowercase=options.get('do_lower_case', True),
    strip_accents=options.get('strip_accents'),
    handle_chinese_chars=options.get('tokenize_chinese_chars', True),
  )
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
  tokenizer.decoder = tokenizers.decoders.WordPiece()
  cls, sep = special['cls'], special['sep']
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
    single=f'{cls} $A {sep}',
    pair=f'{cls} $A {sep} $B:1 {sep}:1',
    special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])],
  )
  tokenizer.add_special_tokens([*special.values()])
  return tokenizer


def _read_byte_pairs(path: Path, merges: Path, settings):
  """Makes RoBERTa's tokenizer of a `vocab.json` and a `merges.txt`."""
  vocabulary = _read_json(path)
  special = _all_special(path, settings, vocabulary, ('cls', 'sep'))
  try:
    model = tokenizers.models.BPE.from_file(str(path), str(merges))
  except Exception as error:  # the library raises no other
    raise ValueError(f'{path} and {merges}: {error}') from None
  prefix = settings.get('tokenizer_config.json', {}).get('add_prefix_space')
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=bool(prefix)
  )
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  cls, sep = special['cls'], special['sep']
  tokenizer.post_processor = tokenizers.processors.RobertaProcessing(
    (sep, vocabulary[sep]),
    (cls, vocabulary[cls]),
    add_prefix_space=bool(prefix),
  )
  tokenizer.add_special_tokens(
    [  # RoBERTa's mask takes the space before it
      tokenizers.AddedToken(token, lstrip=use == 'mask', normalized=False)
      for use, token in special.items()
    ]
  )
  return tokenizer


def _all_special(path: Path, settings, vocabulary, needed) -> dict[str, str]:
  """Finds the special tokens of a vocabulary by use."""
  found = {u: find_special(u, settings, vocabulary) for u in SPECIAL_TOKENS}
  for use in needed:
    if found[use] is None:
      raise ValueError(
        f'{path} must have a token {" or ".join(SPECIAL_TOKENS[use])}, or one '
        f'that {SETTINGS[0]} names as {use}_token.'
      )
  return {use: token for use, token in found.items() if token is not None}
