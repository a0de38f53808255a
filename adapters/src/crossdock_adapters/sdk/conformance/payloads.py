"""Broken, grown and hostile payloads, made of a good one; pure. Only for media that name places.

JSON names a place by a pointer (RFC 6901), XML by the path of its elements. What JSON or XML cannot
parse at all has line and column.
"""

from __future__ import annotations

import copy
import functools
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.conformance.subject import JSON, XML, Malformed, WayIn

UNKNOWN_NAME = "nobodyDocumentedThis"
NESTED = 100_000
DIGITS = 20_000
GZIP = "gzip"
# 16 says gzip to zlib, 15 its largest window (zlib.h, deflateInit2).
GZIP_WINDOW = 16 + 15
HUGE = "1E+999999999"
LINE_AND_COLUMN = r"line \d+,? column \d+"
_HUGE_MARK = "a-number-too-large-to-write-out"


def grown(way: WayIn) -> bytes | None:
    """The first payload with fields that nobody documented, in each of its objects."""
    if way.grown is not None:
        return way.grown
    if way.media == JSON:
        return vendor_json.dumps(_grown(vendor_json.loads(way.payloads[0])))
    if way.media == XML:
        root = _parsed(way.payloads[0])
        for element in list(root.iter()):
            if len(element):
                ElementTree.SubElement(element, UNKNOWN_NAME).text = "value"
        return ElementTree.tostring(root)
    return None


def malformed(way: WayIn) -> list[Malformed]:
    """Payloads that cannot be read, and how a refusal has to say where."""
    found = list(way.malformed)
    if way.media in (JSON, XML):
        good = way.payloads[0]
        found.append(Malformed(good[: len(good) * 2 // 3], LINE_AND_COLUMN))
    if way.media == JSON:
        for pointer in way.needed:
            place = rf"(^|[\s\"']){re.escape(pointer)}(?![\w/])"
            found += [Malformed(body, place) for body in _without(way.payloads[0], pointer)]
    elif way.media == XML:
        for path in way.needed:
            place = rf"(^|[\s\"']){re.escape(path)}(?![\w/])"
            found += [Malformed(body, place) for body in _without_element(way.payloads[0], path)]
    return found


def oversize(way: WayIn, size_bytes: int) -> list[bytes]:
    """Payloads of at least this size: one that could be read, and one that could not."""
    if way.oversize is not None:
        return [way.oversize]
    if way.media == JSON:
        content = vendor_json.loads(way.payloads[0])
        whole = vendor_json.dumps({**content, UNKNOWN_NAME: "x" * size_bytes})
        return [whole, whole[:-2]]
    if way.media == XML:
        root = _parsed(way.payloads[0])
        ElementTree.SubElement(root, UNKNOWN_NAME).text = "x" * size_bytes
        whole = ElementTree.tostring(root)
        return [whole, whole[:-2]]
    return []


def bombs(way: WayIn) -> list[bytes]:
    """Small payloads that are meant to eat time or memory."""
    return [*way.bombs, *_bombs(way)]


@functools.cache
def inflating(size_mib: int) -> bytes:
    """What gzip makes of so many MiB of nothing: a thousandth of them."""
    packer = zlib.compressobj(level=9, wbits=GZIP_WINDOW)
    nothing = bytes(1 << 20)
    return b"".join([*(packer.compress(nothing) for _ in range(size_mib)), packer.flush()])


def _bombs(way: WayIn) -> Iterator[bytes]:
    if way.media == JSON:
        content = vendor_json.loads(way.payloads[0])
        yield b"[" * NESTED + b"]" * NESTED
        nested = b'{"a":' * NESTED + b"1" + b"}" * NESTED
        yield vendor_json.dumps({**content, UNKNOWN_NAME: 0}).replace(
            f'"{UNKNOWN_NAME}":0'.encode(), f'"{UNKNOWN_NAME}":'.encode() + nested
        )
        for pointer in way.needed:
            for number in (HUGE, "9" * DIGITS):
                changed = copy.deepcopy(content)
                if _replace(changed, pointer, _HUGE_MARK):
                    yield vendor_json.dumps(changed).replace(
                        f'"{_HUGE_MARK}"'.encode(), number.encode()
                    )
    elif way.media == XML:
        good = _body(way.payloads[0])
        yield _laughs() + _with_entity(good, "lol9")
        outside = b'<!DOCTYPE x [<!ENTITY lol9 SYSTEM "file:///etc/hostname">]>'
        yield outside + _with_entity(good, "lol9")
        yield b"<a>" * NESTED + b"</a>" * NESTED


def _laughs() -> bytes:
    lines = ['<!ENTITY lol0 "lol">']
    lines += [f'<!ENTITY lol{depth} "{f"&lol{depth - 1};" * 10}">' for depth in range(1, 10)]
    return ("<!DOCTYPE x [" + "".join(lines) + "]>").encode()


def _with_entity(payload: bytes, name: str) -> bytes:
    """The entity inside the outermost element."""
    return re.sub(rb"(<[^?!][^>]*>)", rb"\1&" + name.encode() + b";", payload, count=1)


def _body(payload: bytes) -> bytes:
    """Without the XML declaration: a document type comes before everything else."""
    return re.sub(rb"^\s*<\?xml[^>]*\?>", b"", payload)


def _grown(value: Any) -> Any:
    if isinstance(value, dict):
        inner = {name: _grown(each) for name, each in value.items()}
        return {**inner, UNKNOWN_NAME: {"nested": ["value", 1, None]}}
    return [_grown(each) for each in value] if isinstance(value, list) else value


def _without(payload: bytes, pointer: str) -> Iterator[bytes]:
    """The place missing, and the place of another kind."""
    content = vendor_json.loads(payload)
    missing, other = copy.deepcopy(content), copy.deepcopy(content)
    if _replace(missing, pointer, None, remove=True):
        yield vendor_json.dumps(missing)
    if _replace(other, pointer, [["of another kind"]]):
        yield vendor_json.dumps(other)


def _replace(content: Any, pointer: str, value: Any, *, remove: bool = False) -> bool:
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in way:
        content = content[int(part)] if isinstance(content, list) else content[part]
    key: Any = int(last) if isinstance(content, list) else last
    content[key]
    if remove:
        del content[key]
    else:
        content[key] = value
    return True


def _without_element(payload: bytes, path: str) -> Iterator[bytes]:
    for text in (None, "of another kind"):
        root = _parsed(payload)
        names = path.strip("/").split("/")[1:]
        parent, element = root, root
        for name in names:
            parent, element = element, next(each for each in element if _local(each) == name)
        if text is None:
            parent.remove(element)
        else:
            element.text = text
        yield ElementTree.tostring(root)


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _parsed(payload: bytes) -> ElementTree.Element:
    # Only what conformance.py itself wrote is parsed here, never what a vendor sent.
    return ElementTree.fromstring(payload)


def places(reasons: Sequence[str], pattern: str) -> bool:
    """Whether one of the reasons names the place."""
    return any(re.search(pattern, reason) for reason in reasons)
