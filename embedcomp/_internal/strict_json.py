"""JSON objects whose fields are unique."""

from typing import Any


def unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """Makes a dict of a JSON object; `json` keeps the last of equal fields.

  Raises:
    ValueError: naming a field that occurs twice.
  """
  fields: dict[str, Any] = {}
  for name, value in pairs:
    if name in fields:
      raise ValueError(f'field {name!r} occurs twice')
    fields[name] = value
  return fields
