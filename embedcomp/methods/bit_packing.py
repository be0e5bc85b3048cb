"""Integers of any width in bits, packed without gaps."""

import numpy as np


def code_bits(num_values: int) -> int:
  """The bits of one code in [0, num_values): 0 for a single value."""
  return max(num_values - 1, 0).bit_length()


def pack_bits(values: np.ndarray, bits: int) -> np.ndarray:
  """Packs integers of `bits` bits each into bytes, least significant first.

  Args:
    values: integers in [0, 2**bits), any shape, read in C order.
    bits: 0 to 32.

  Returns:
    [ceil(values.size * bits / 8)] uint8, unused bits zero.

  Example:
    >>> pack_bits(np.array([1, 2, 3]), bits=3).tolist()
    [209, 0]
  """
  flat = np.ascontiguousarray(values, np.uint32).reshape(-1)
  if bits in (8, 16, 32):
    return flat.astype(f'<u{bits // 8}').view(np.uint8)
  planes = np.empty((flat.size, bits), np.uint8)
  for bit in range(bits):
    planes[:, bit] = (flat >> np.uint32(bit)) & np.uint32(1)
  return np.packbits(planes.reshape(-1), bitorder='little')


def unpack_bits(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
  """Reverses `pack_bits`.

  Args:
    packed: uint8 bytes.
    bits: 0 to 32.
    count: how many integers were packed.

  Returns:
    [count] uint32.

  Raises:
    ValueError: if the length does not fit or an unused bit is set.
  """
  expected = -(-count * bits // 8)
  if packed.size != expected:
    raise ValueError(
      f'{count} codes of {bits} bits take {expected} bytes, got {packed.size}.'
    )
  if bits in (8, 16, 32):
    return packed.view(f'<u{bits // 8}').astype(np.uint32)
  planes = np.unpackbits(packed, bitorder='little')
  if planes[count * bits :].any():
    raise ValueError('unused bits after the last code must be zero.')
  of_value = planes[: count * bits].reshape(count, bits)
  values = np.zeros(count, np.uint32)
  for bit in range(bits):
    values |= of_value[:, bit].astype(np.uint32) << np.uint32(bit)
  return values


def pack_list(entries: np.ndarray, base_dtype: str) -> bytes:
  """Least entry, bits of the largest excess over it, and the excesses.

  Args:
    entries: [n] integers in the range of `base_dtype`, excesses below 2**32.
    base_dtype: of the least entry, such as '<u4'.
  """
  least = int(entries.min(initial=entries.max(initial=0)))
  excesses = entries - least
  bits = int(excesses.max(initial=0)).bit_length()
  head = np.array([least], base_dtype).tobytes() + bytes([bits])
  return head + pack_bits(excesses, bits).tobytes()


def unpack_list(
  data: np.ndarray, count: int, base_dtype: str, limit: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
  """Reverses `pack_list`.

  Args:
    data: [n] uint8, the list first.
    count: entries of the list.
    base_dtype: as for `pack_list`.
    limit: the largest entry that there may be.
    name: of the entries, for errors.

  Returns:
    [count] int64 and the bytes after the list.

  Raises:
    ValueError: if the list is cut off or an entry is too large.
  """
  size = np.dtype(base_dtype).itemsize
  bits = int(data[size]) if data.size > size else 33
  num_bytes = -(-count * bits // 8)
  if bits > 32 or data.size < size + 1 + num_bytes:
    raise ValueError(f'the stream ends inside its {name}.')
  least = int(data[:size].view(base_dtype)[0])
  packed, data = np.split(data[size + 1 :], [num_bytes])
  entries = unpack_bits(packed, bits, count).astype(np.int64) + least
  if entries.max(initial=0) > limit:
    raise ValueError(
      f'{name} must be at most {limit}, got {entries.max(initial=0)}.'
    )
  return entries, data
