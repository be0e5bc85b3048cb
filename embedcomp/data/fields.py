"""Where the texts and labels of a data set are."""

import dataclasses
from collections.abc import Sequence

Field = str | int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields:
  """Columns, keys or features that hold the texts and labels of documents.

  Attributes:
    text_field: of the text, or several to be joined by spaces; if not given,
      'text' for local files, found by type for TensorFlow Datasets. Numbers
      from 0 on, also as texts ('0'), stand for the columns of tables without
      names.
    pair_field: of the second text of a pair, such as 'sentence2' of
      `glue/stsb`; None for texts that stand alone.
    label_field: of the label; if not given, 'label' for local files where there
      is one, found by type for TensorFlow Datasets.
    real_labels: whether labels are real numbers, not names of classes.

  Raises:
    ValueError: if `text_field` is an empty sequence.

  Example:
    >>> Fields(text_field='sentence').text_fields
    ('sentence',)
  """

  text_field: Field | Sequence[Field] | None = None
  pair_field: Field | None = None
  label_field: Field | None = None
  real_labels: bool = False

  def __post_init__(self) -> None:
    if self.text_fields == ():
      raise ValueError(
        f'text_field must name one field or more, got {self.text_field!r}.'
      )

  @property
  def text_fields(self) -> tuple[Field, ...] | None:
    """All fields of the text; None if they are not given."""
    if self.text_field is None:
      return None
    if isinstance(self.text_field, str | int):
      return (self.text_field,)
    return tuple(self.text_field)


BY_DEFAULT = Fields()
