"""Small but real labels of the simulated Canada Post: printer commands, and a page of PDF."""

from __future__ import annotations


def draw(encoding: str, output_format: str, pin: str, name: str, service: str) -> bytes:
    """The label of one parcel, as PDF or ZPL."""
    lines = (f"CANADA POST {service}", f"TO: {_printable(name)}", f"PIN {pin}", "SIMULATED")
    return _zpl(lines, pin) if encoding == "ZPL" else _pdf(lines, output_format)


def _printable(text: str) -> str:
    """Text that cannot end a printer command or a string of PDF early."""
    return "".join(c if c.isascii() and (c.isalnum() or c in " -.,#") else " " for c in text)[:44]


def _zpl(lines: tuple[str, ...], pin: str) -> bytes:
    texts = [f"^FO40,{60 + 60 * row}^A0N,36,36^FD{line}^FS" for row, line in enumerate(lines)]
    bars = f"^FO40,600^BY3^BCN,180,N,N,N^FD{pin}^FS"
    return "\n".join(("^XA^LH0,0^PW812^LL1218", *texts, bars, "^XZ")).encode("ascii")


def _pdf(lines: tuple[str, ...], output_format: str) -> bytes:
    width, height = (288, 432) if output_format == "4x6" else (612, 792)
    shown = " ".join(f"({line}) Tj 0 -20 Td" for line in lines)
    content = f"BT /F1 14 Tf 20 {height - 40} Td {shown} ET".encode("ascii")
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>".encode("ascii"),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, each in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        table,
    )
    return bytes(out)
