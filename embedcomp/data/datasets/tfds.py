"""Data sets of TensorFlow Datasets, ours and theirs, without TensorFlow."""

import contextlib
import dataclasses
import difflib
import io
import os
import sys
from pathlib import Path

import array_record  # noqa: F401  what TFDS reads with; else it fails late
import numpy as np
import tensorflow_datasets as tfds
import tensorflow_datasets.text  # glue is not found without it
from tensorflow_datasets.core.utils import tqdm_utils

from embedcomp._internal import progress as bars
from embedcomp.data import labels
from embedcomp.data.datasets import builders, names, pip_files
from embedcomp.data.documents import UNSEEN, Documents, TextDataset
from embedcomp.data.fields import BY_DEFAULT, Field, Fields

_SPLITS = {
  'train': 'train',
  'test': 'test',
  'validation': 'validation',
  'validation_matched': 'validation',  # of glue/mnli
}


def load_prepared(
  name: str,
  fields: Fields = BY_DEFAULT,
  *,
  cache_dir: str | os.PathLike | None = None,
  progress: bool = True,
) -> TextDataset:
  """Loads a data set by name, preparing it the first time.

  Args:
    name: of `builders.BUILDERS`, or of TensorFlow Datasets
      (`name/config:version`).
    fields: features of texts and labels. Texts are by default all features of
      type Text that are nothing else; the label is the only feature of type
      ClassLabel, or 'label' for real numbers.
    cache_dir: `cache_folder()` if not given.
    progress: whether to show progress.

  Returns:
    The data set. Splits whose labels are all hidden (-1) are left out.

  Raises:
    RuntimeError: if it cannot be downloaded or prepared.
    ValueError: if there is no such data set, or none of labelled text.
  """
  folder = Path(cache_dir) if cache_dir else pip_files.cache_folder()
  builder = _make_builder(name, folder, cache_dir)
  if not _is_prepared(builder):
    _prepare(builder, name, progress)
    # Made anew, to see what is written, by whatever process it was.
    builder = _make_builder(name, folder, cache_dir)
  features = dict(builder.info.features.items())
  found = _find_fields(name, features, fields)
  splits = {}
  for split, own_name in _SPLITS.items():
    if split not in builder.info.splits or own_name in splits:
      continue
    examples = bars.track(
      builder.as_data_source(split=split),
      f'reading {name} ({split})',
      enabled=progress,
    )
    documents = _documents(examples, found)
    if documents.labels is None or (documents.labels != UNSEEN).any():
      splits[own_name] = documents
  if 'train' not in splits:
    raise ValueError(
      f'{name} has no labelled training split, but {[*builder.info.splits]}.'
    )
  label_names = ()
  if found.label_field and not found.real_labels:
    label_names = tuple(features[found.label_field].names)
  return TextDataset(name, label_names, labels.with_test_split(splits))


def _make_builder(name: str, folder: Path, cache_dir):
  """Makes the builder of a name; nothing is downloaded yet."""
  data_dir = folder / 'tensorflow_datasets'
  options = {'data_dir': data_dir, 'file_format': 'array_record'}
  if name in builders.BUILDERS:
    return builders.BUILDERS[name](cache_dir=cache_dir, **options)
  known = tfds.list_builders(with_community_datasets=False)
  base = name.partition('/')[0].partition(':')[0]
  if base not in known:
    similar = difflib.get_close_matches(base, known)
    hint = f' (similar: {", ".join(similar)})' if similar else ''
    ours = [*names.BUILT_IN, *names.GENERATED]
    raise ValueError(
      f'no data set {name!r}{hint}. Give one of {ours}, a '
      f'folder or file of texts that exists, or one of the {len(known)} names '
      'of TensorFlow Datasets (tfds.list_builders()).'
    )
  try:
    return tfds.builder(name, try_gcs=False, **options)
  except Exception as error:  # a wrong config, or a package that it lacks
    raise ValueError(
      f'TensorFlow Datasets cannot load {name!r}: {str(error)[:500]}'
    ) from error


def _is_prepared(builder) -> bool:
  """True if it is written; `builder.is_prepared` would warn if it is not."""
  return (Path(builder.data_dir) / 'dataset_info.json').exists()


def _prepare(builder, name: str, progress: bool) -> None:
  """Writes a data set, whole or not at all."""
  # TFDS prints to stdout, which is the caller's.
  target = sys.stderr if progress else io.StringIO()
  was_active = tqdm_utils._active
  if not progress:
    tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(target):
      builder.download_and_prepare()
  except (Exception, SystemExit) as error:
    if _is_prepared(builder):
      return  # another process was faster
    if name in builders.BUILDERS:
      raise
    reason = f'{type(error).__name__}: {str(error)[:300]}'
    raise RuntimeError(
      f'TensorFlow Datasets could not prepare {name} ({reason}). It downloads '
      'from the servers of the data set: check that this machine reaches '
      f'them. {[*builders.BUILDERS]} and local folders need no such server.'
    ) from error
  finally:
    if was_active:
      tfds.enable_progress_bar()


def _find_fields(name: str, features, fields: Fields) -> Fields:
  """Checks which features are given, and finds the others by their types."""
  texts, pair, label = fields.text_fields, fields.pair_field, fields.label_field
  if texts is None:
    texts = tuple(
      field
      for field, feature in features.items()
      if isinstance(feature, tfds.features.Text) and field not in (pair, label)
    )
  _check_texts('text_field', name, features, texts)
  if pair is not None:
    _check_texts('pair_field', name, features, [pair])
  find_label = _real_label_field if fields.real_labels else _label_field
  return dataclasses.replace(
    fields, text_field=texts, label_field=find_label(name, features, label)
  )


def _check_texts(option: str, name, features, fields) -> None:
  """Raises ValueError unless fields are features that are texts."""
  kinds = [type(features.get(field)) for field in fields]
  if not fields or any(kind is not tfds.features.Text for kind in kinds):
    raise ValueError(
      f'{option} of {name} must name features of type Text, got '
      f'{list(fields)}; there are {_describe(features)}.'
    )


def _label_field(name, features, chosen: Field | None) -> Field | None:
  """Finds the feature of the label; None for text without a label."""
  fields = [chosen]
  if chosen is None:
    fields = [
      field
      for field, feature in features.items()
      if isinstance(feature, tfds.features.ClassLabel)
    ]
  if not fields and 'label' not in features:
    return None
  feature = features.get(fields[0]) if len(fields) == 1 else None
  if not isinstance(feature, tfds.features.ClassLabel):
    raise ValueError(
      f'label_field of {name} must name one feature of type ClassLabel, got '
      f'{fields}; there are {_describe(features)}. real_labels reads numbers.'
    )
  return fields[0]


def _real_label_field(name, features, chosen: Field | None) -> Field:
  """Finds the feature of a label that is a number."""
  field = 'label' if chosen is None else chosen
  feature = features.get(field)
  is_scalar = isinstance(feature, tfds.features.Tensor) and not feature.shape
  if (
    not is_scalar
    or isinstance(feature, tfds.features.ClassLabel)
    or not np.issubdtype(feature.np_dtype, np.number)
  ):
    raise ValueError(
      f'label_field of {name} must name a feature that is a number, got '
      f'{field!r}; there are {_describe(features)}.'
    )
  return field


def _describe(features) -> str:
  """Lists features and their types, for errors."""
  kinds = [f'{field} ({type(f).__name__})' for field, f in features.items()]
  return ', '.join(kinds)


def _documents(examples, fields: Fields) -> Documents:
  """Reads the documents of one split."""
  texts, pairs, found = [], [], []
  text_fields = fields.text_fields or ()
  for example in examples:
    words = (example[field].decode() for field in text_fields)
    texts.append(' '.join(words))
    if fields.pair_field is not None:
      pairs.append(example[fields.pair_field].decode())
    if fields.label_field:
      found.append(example[fields.label_field])
  dtype = np.float32 if fields.real_labels else np.int64
  return Documents(
    tuple(texts),
    np.array(found, dtype) if fields.label_field else None,
    None if fields.pair_field is None else tuple(pairs),
  )
