"""Small but real label images for the simulated carrier: GIF pictures and printer commands."""

from __future__ import annotations

from collections.abc import Iterator

FORMATS = ("GIF", "ZPL", "EPL", "SPL")
GIF_WIDTH, GIF_HEIGHT = 280, 140
BAR_TOP, BAR_BOTTOM = 20, 120
CODE_BITS_MAX = 12
WHITE, BLACK = 0, 1


def draw(image_format: str, tracking_number: str, ship_to: str, service: str) -> bytes:
    """The label of one parcel in one of FORMATS; ValueError for any other format."""
    if image_format == "GIF":
        return _gif(_bars(tracking_number))
    if image_format == "ZPL":
        return _zpl(tracking_number, ship_to, service)
    if image_format in ("EPL", "SPL"):
        return _epl(tracking_number, ship_to, service)
    raise ValueError(f"no label format {image_format!r}")


def _printable(text: str) -> str:
    """Text that cannot end a printer command early."""
    return "".join(c if c.isalnum() or c in " -.,/#" else " " for c in text)[:35]


def _zpl(tracking_number: str, ship_to: str, service: str) -> bytes:
    lines = (
        "^XA^LH0,0^PW812^LL1218",
        f"^FO40,40^A0N,36,36^FDUPS {_printable(service)}^FS",
        f"^FO40,100^A0N,30,30^FDSHIP TO: {_printable(ship_to)}^FS",
        f"^FO40,900^BY3^BCN,180,N,N,N^FD{tracking_number}^FS",
        f"^FO40,1100^A0N,34,34^FDTRACKING #: {tracking_number}^FS",
        "^FO40,1160^A0N,24,24^FDSAMPLE - SIMULATED CARRIER^FS",
        "^XZ",
    )
    return "\n".join(lines).encode("ascii", "replace")


def _epl(tracking_number: str, ship_to: str, service: str) -> bytes:
    lines = (
        "N",
        f'A40,40,0,4,1,1,N,"UPS {_printable(service)}"',
        f'A40,90,0,3,1,1,N,"SHIP TO: {_printable(ship_to)}"',
        f'B40,700,0,1,3,6,180,N,"{tracking_number}"',
        f'A40,900,0,3,1,1,N,"{tracking_number}"',
        "P1",
        "",
    )
    return "\n".join(lines).encode("ascii", "replace")


def _bars(tracking_number: str) -> bytes:
    """Pixels of a bar pattern that differs for each tracking number."""
    bits = "".join(f"{ord(character):07b}" for character in tracking_number)
    line = bytearray([WHITE] * GIF_WIDTH)
    for position, bit in enumerate(bits[: (GIF_WIDTH - 20) // 2]):
        if bit == "1":
            line[10 + 2 * position : 12 + 2 * position] = bytes([BLACK, BLACK])
    blank = bytes([WHITE] * GIF_WIDTH)
    rows = (bytes(line) if BAR_TOP <= row < BAR_BOTTOM else blank for row in range(GIF_HEIGHT))
    return b"".join(rows)


def _gif(pixels: bytes) -> bytes:
    size = GIF_WIDTH.to_bytes(2, "little") + GIF_HEIGHT.to_bytes(2, "little")
    screen = b"GIF89a" + size + b"\x80\x00\x00" + b"\xff\xff\xff" + b"\x00\x00\x00"
    descriptor = b"\x2c" + b"\x00\x00\x00\x00" + size + b"\x00"
    packed = _pack_codes(_lzw_codes(pixels))
    blocks = b"".join(
        bytes([len(packed[start : start + 255])]) + packed[start : start + 255]
        for start in range(0, len(packed), 255)
    )
    return screen + descriptor + b"\x02" + blocks + b"\x00" + b"\x3b"


def _lzw_codes(pixels: bytes) -> Iterator[tuple[int, int]]:
    """GIF's LZW: (code, width in bits), the table cleared whenever it is full."""
    clear, end = 4, 5
    table: dict[bytes, int] = {bytes([value]): value for value in range(4)}
    width, next_code = 3, 6
    yield clear, width
    run = b""
    for pixel in pixels:
        longer = run + bytes([pixel])
        if longer in table:
            run = longer
            continue
        yield table[run], width
        table[longer] = next_code
        if next_code == 1 << width and width < CODE_BITS_MAX:
            width += 1
        next_code += 1
        if next_code >= 1 << CODE_BITS_MAX:
            yield clear, width
            table = {bytes([value]): value for value in range(4)}
            width, next_code = 3, 6
        run = bytes([pixel])
    yield table[run], width
    yield end, width


def _pack_codes(codes: Iterator[tuple[int, int]]) -> bytes:
    out, buffer, held = bytearray(), 0, 0
    for code, width in codes:
        buffer |= code << held
        held += width
        while held >= 8:
            out.append(buffer & 0xFF)
            buffer >>= 8
            held -= 8
    if held:
        out.append(buffer & 0xFF)
    return bytes(out)
