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
