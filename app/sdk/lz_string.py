"""Decoder of LZ-String in base64, the compression of old browser SDKs (``lz64``).

It is written here because the Python ports do not bound their output, and the common one mishandles characters outside
the basic plane. The output grows in one buffer, and the entries of the dictionary are slices of it.
"""

import binascii
from array import array

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_EIGHT_BITS, _SIXTEEN_BITS, _END = 0, 1, 2  # codes that are not dictionary entries
_FIRST_ENTRY = 3
_UNIT_BYTES = 2  # UTF-16


class OutputTooLong(ValueError):
    """The text would be longer than the limit."""


def decompress(text: bytes, limit: int) -> str:
    """Return the text of at most ``limit`` UTF-16 units; lone surrogates become replacement characters.

    Raises
    ------
    OutputTooLong
        Before memory holds more than the limit.
    ValueError
        The stream is invalid or truncated.
    """
    digits = text.rstrip(b"=")
    # Every digit carries six bits of the stream: with ``=`` the decoder would drop some of the last bits.
    data = binascii.a2b_base64(digits + b"A" * (-len(digits) % 4))
    return _Decoder(data, limit).run().decode("utf-16-le", "replace")


class _Decoder:
    """Reads codes, whose lowest bit comes first: the bits of every byte are reversed once at the start."""

    def __init__(self, data: bytes, limit: int) -> None:
        self._data = data.translate(_REVERSED)
        self._bits = len(data) * 8
        self._position = 0
        self._limit = limit * _UNIT_BYTES
        self._output = bytearray()
        self._starts = array("I", bytes(4 * _FIRST_ENTRY))
        self._ends = array("I", bytes(4 * _FIRST_ENTRY))

    def run(self) -> bytearray:
        width, room = 2, 1  # of the first code; later the width grows with the dictionary
        previous: tuple[int, int] | None = None
        while (code := self._read(width)) != _END:
            start = len(self._output)
            if code <= _SIXTEEN_BITS:
                self._write_literal(8 if code == _EIGHT_BITS else 16)
                self._define(start, start + _UNIT_BYTES)
                room -= 1
                if room == 0:
                    room, width = 1 << width, width + 1
            else:
                self._write_entry(code, previous)
            if previous is not None:
                # The previous slice and the first unit of this one are adjacent in the output.
                self._define(previous[0], previous[1] + _UNIT_BYTES)
                room -= 1
                if room == 0:
                    room, width = 1 << width, width + 1
            previous = (start, len(self._output))
        return self._output

    def _read(self, width: int) -> int:
        first, shift = divmod(self._position, 8)
        self._position += width
        if self._position > self._bits:
            raise ValueError("the stream ends early")
        window = int.from_bytes(self._data[first : first + 5], "little")
        return window >> shift & (1 << width) - 1

    def _define(self, start: int, end: int) -> None:
        self._starts.append(start)
        self._ends.append(end)

    def _write_literal(self, width: int) -> None:
        self._output += self._read(width).to_bytes(_UNIT_BYTES, "little")
        self._check_length()

    def _write_entry(self, code: int, previous: tuple[int, int] | None) -> None:
        if code < len(self._starts):
            self._output += self._output[self._starts[code] : self._ends[code]]
        elif code == len(self._starts) and previous is not None:  # the entry that this code completes
            start, end = previous
            self._output += self._output[start:end] + self._output[start : start + _UNIT_BYTES]
        else:
            raise ValueError(f"code {code} is not defined")
        self._check_length()

    def _check_length(self) -> None:
        if len(self._output) > self._limit:
            raise OutputTooLong
