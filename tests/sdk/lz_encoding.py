"""An LZ-String encoder in its simplest form: it writes every character as a literal."""

import base64


def compress(text: str) -> str:
    units = text.encode("utf-16-le")
    bits: list[str] = []
    width, room = 2, 1
    for position in range(0, len(units), 2):
        unit = int.from_bytes(units[position : position + 2], "little")
        wide = unit > 0xFF
        bits += [_lowest_first(int(wide), width), _lowest_first(unit, 16 if wide else 8)]
        for _ in range(2 if position else 1):  # the literal, and its pair with the character before
            room -= 1
            if room == 0:
                room, width = 1 << width, width + 1
    bits.append(_lowest_first(2, width))
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 24)
    return base64.b64encode(int(stream, 2).to_bytes(len(stream) // 8)).decode()


def _lowest_first(number: int, width: int) -> str:
    return f"{number:0{width}b}"[::-1]
