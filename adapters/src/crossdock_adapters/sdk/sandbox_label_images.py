"""Small but real label images for simulated carriers: pictures, a page, printer commands."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

FORMATS = ("GIF", "PNG", "PDF", "ZPL", "EPL")
GIF_WIDTH, GIF_HEIGHT = 280, 140
BAR_TOP, BAR_BOTTOM = 20, 120
CODE_BITS_MAX = 12
WHITE, BLACK = 0, 1


def draw(
    image_format: str, carrier: str, tracking_number: str, ship_to: str, service: str
) -> bytes:
    """The label of one parcel in one of FORMATS; ValueError for any other format."""
    title = f"{carrier} {_printable(service)}"
    match image_format:
        case "GIF":
            return _gif(_bars(tracking_number))
        case "PNG":
            return _png(_bars(tracking_number))
        case "PDF":
            return _pdf((title, f"SHIP TO: {_printable(ship_to)}", tracking_number))
        case "ZPL":
            return _zpl(tracking_number, ship_to, title)
        case "EPL":
            return _epl(tracking_number, ship_to, title)
    raise ValueError(f"no label format {image_format!r}")


def _printable(text: str) -> str:
    """Text that cannot end a printer command early."""
    return "".join(c if c.isalnum() or c in " -.,/#" else " " for c in text)[:35]


def _zpl(tracking_number: str, ship_to: str, title: str) -> bytes:
    lines = (
        "^XA^LH0,0^PW812^LL1218",
        f"^FO40,40^A0N,36,36^FD{title}^FS",
        f"^FO40,100^A0N,30,30^FDSHIP TO: {_printable(ship_to)}^FS",
        f"^FO40,900^BY3^BCN,180,N,N,N^FD{tracking_number}^FS",
        f"^FO40,1100^A0N,34,34^FDTRACKING #: {tracking_number}^FS",
        "^FO40,1160^A0N,24,24^FDSAMPLE - SIMULATED CARRIER^FS",
        "^XZ",
    )
    return "\n".join(lines).encode("ascii", "replace")


def _epl(tracking_number: str, ship_to: str, title: str) -> bytes:
    lines = (
        "N",
        f'A40,40,0,4,1,1,N,"{title}"',
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


def _png(pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", GIF_WIDTH, GIF_HEIGHT, 8, 0, 0, 0, 0)
    rows = (pixels[at : at + GIF_WIDTH] for at in range(0, len(pixels), GIF_WIDTH))
    grey = bytes.maketrans(bytes([WHITE, BLACK]), b"\xff\x00")
    packed = zlib.compress(b"".join(b"\x00" + row.translate(grey) for row in rows))
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _pdf(lines: tuple[str, ...]) -> bytes:
    """One page of 4 by 6 inches with a line of text each."""
    shown = "".join(f"({line}) Tj T* " for line in lines)
    text = f"BT /F1 12 Tf 16 TL 20 400 Td {shown}ET".encode("ascii", "replace")
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 288 432] /Contents 4 0 R "
        b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Courier >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
    )
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, table)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return body + head + trailer % (count, len(body))


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
