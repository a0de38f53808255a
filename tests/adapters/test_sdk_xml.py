"""XML of vendors: what is read and where it stood, what is refused, and that limits hold."""

from __future__ import annotations

import time
from typing import Any

import pytest
from crossdock_adapters.sdk import vendor_xml
from crossdock_adapters.sdk.conformance.memory import forget_the_peak, peak_bytes
from crossdock_adapters.sdk.places import Unreadable
from hypothesis import given
from hypothesis import strategies as st

DOCUMENT = b"""<?xml version="1.0" encoding="UTF-8"?>
<p:order xmlns:p="urn:orders" xmlns="urn:lines" total="2">
  <line number="1"><item> SKU-1 </item></line>
  <line number="2">
    <p:item>SKU-2</p:item>
    <quantity/>
  </line>
</p:order>"""
LARGE_TEXT = 5_000_000
SOON_SECONDS = 2.0
LITTLE_BYTES = 64 * 1024 * 1024


def test_elements_have_names_texts_attributes_and_places() -> None:
    """Proves that names come without prefix, and that a place is path, line and column."""
    root = vendor_xml.loads(DOCUMENT)
    assert (root.name, root.namespace, root.attributes["total"]) == ("order", "urn:orders", "2")
    assert [line.attributes["number"] for line in root.all("line")] == ["1", "2"]
    assert root.need_text("line/item") == "SKU-1"
    (second,) = [item for item in root.all("line/item") if item.namespace == "urn:orders"]
    assert second.place == "/order/line[2]/item (line 5, column 5)"
    assert root.text_of("line/price", "none") == "none"


def test_what_is_missing_or_empty_is_told_with_its_place() -> None:
    """Proves that a reader is told which element it lacks, and in which."""
    root = vendor_xml.loads(DOCUMENT)
    with pytest.raises(Unreadable, match=r"^/order/line/price \(line 2, column 1\): is missing$"):
        root.need_text("line/price")
    with pytest.raises(
        Unreadable, match=r"^/order/line\[2\]/quantity \(line 6, column 5\): is empty"
    ):
        root.need_text("line/quantity")


@pytest.mark.parametrize(
    ("body", "where", "problem"),
    [
        (b"", "line 1, column 1", "empty"),
        (b"<a>\n <b></a>", "line 2, column 7", "mismatched tag"),
        (b"<a>\n", "line 2, column 1", "no element found"),
        (b"<a>&b;</a>", "line 1, column 4", "undefined entity"),
        (b"<p:a/>", "line 1, column 1", "unbound prefix"),
        (b"<a/><b/>", "line 1, column 5", "junk"),
        (b"<a>\xff</a>", "line 1, column 4", "invalid token"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "line 1, column", "no XML"),
        (b'<?xml version="1.0" encoding="utf-7"?><a/>', "line 1, column", "no XML"),
        (b'{"json": 1}', "line 1, column 1", "not well-formed"),
    ],
)
def test_what_is_no_xml_is_refused_with_its_place(body: bytes, where: str, problem: str) -> None:
    """Proves that a reason of ours comes with line and column, and no other exception."""
    with pytest.raises(Unreadable) as refused:
        vendor_xml.loads(body)
    assert where in str(refused.value)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    "head",
    [
        b"<!DOCTYPE a>",
        b'<!DOCTYPE a [<!ENTITY b "c">]>',
        b'<!DOCTYPE a SYSTEM "file:///etc/hostname">',
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "http://127.0.0.1:9/x">]>',
        b'<!DOCTYPE a [<!ENTITY % b SYSTEM "http://127.0.0.1:9/x"> %b;]>',
        b'<!DOCTYPE a [<!ATTLIST a c CDATA "d">]>',
    ],
)
def test_no_document_type_is_read(head: bytes) -> None:
    """Proves that a document type is refused whatever is in it, and with it every entity."""
    with pytest.raises(Unreadable, match="document type") as refused:
        vendor_xml.loads(head + b"<a>&b;</a>")
    assert "line 1, column" in str(refused.value)


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        (b"<a>" * 100_000, "nested deeper than 64"),
        (b"<a>" + b"<b/>" * 50_000 + b"</a>", "more than 20000 elements"),
        (b"<a " + b" ".join(b'a%d="1"' % n for n in range(65)) + b"/>", "more than 64 attributes"),
        (b"<" + b"a" * 60_000 + b"/>", "a name is longer"),
        (b"<a b='" + b"c" * 7_000_000 + b"'/>", "a tag or a comment is longer than 65536 bytes"),
        (b"<a><!--" + b"c" * 7_000_000 + b"--></a>", "a tag or a comment is longer"),
        (b"<a " + b" ".join(b'a%d=""' % n for n in range(600_000)) + b"/>", "a tag or a comment"),
        (b"<a " + b" ".join(b'xmlns:a%d="u"' % n for n in range(65)) + b"/>", "more than 64"),
        (b"<a>" + b"<b c='' d='' e='' f='' g='' h=''/>" * 10_000, "more than 40000 attributes"),
        (b"<a>" + b"<b xmlns='u' xmlns:c='u' xmlns:d='v'/>" * 19_000, "more than 40000 attrib"),
        (b"<a xmlns='" + b"u" * 501 + b"'/>", "the name of a namespace is longer than 500"),
        (b"<a>" + b" " * vendor_xml.MAX_BYTES + b"</a>", "bytes"),
        # Long names on the way to many elements: their paths together would be 250 MB.
        (
            b"".join(b"<%s>" % (b"n" * 200) for _ in range(63)) + b"<b/>" * 50_000,
            "more than 20000 elements",
        ),
    ],
)
def test_limits_hold(body: bytes, limit: str) -> None:
    """Proves that a document made to eat time or memory is refused soon, and at little cost."""
    forget_the_peak()
    started, memory = time.process_time(), peak_bytes()
    with pytest.raises(Unreadable, match=limit):
        vendor_xml.loads(body)
    assert time.process_time() - started < SOON_SECONDS
    assert peak_bytes() - memory < LITTLE_BYTES


def test_a_namespace_of_many_elements_is_kept_once() -> None:
    """Proves that a long name costs its length once, not once for each element that is in it."""
    long = b"u" * vendor_xml.MAX_NAMESPACE_CHARACTERS
    root = vendor_xml.loads(b"<a xmlns='" + long + b"'>" + b"<b/>" * 10_000 + b"</a>")
    assert len({id(child.namespace) for child in root.children}) == 1


def test_a_large_text_is_read() -> None:
    """Proves that size alone is no reason to refuse: labels come as text in XML."""
    read = vendor_xml.loads(b"<a>" + b"t" * LARGE_TEXT + b"</a>")
    assert len(read.text) == LARGE_TEXT


def test_blanks_before_the_declaration_are_passed_over() -> None:
    """Proves that a document which begins a line too late is read, where its vendor writes it so,
    and that what is no blank is still refused."""
    document = b' \r\n<?xml version="1.0" encoding="ISO-8859-1"?>\n<a>\xe9</a>'
    assert vendor_xml.loads(document).text == "é"
    with pytest.raises(Unreadable):
        vendor_xml.loads(b"x" + document)


def test_built_documents_leave_out_what_is_none() -> None:
    """Proves the words of `build`: lists repeat a name, None is left out, truth is written."""
    made = vendor_xml.build(
        "order", {"id": 7, "note": None, "line": [{"n": 1}, {"n": "<2>"}], "gift": True}, "urn:x"
    )
    assert vendor_xml.dumps(made).split(b"\n", 1)[1] == (
        b'<order xmlns="urn:x"><id>7</id><line><n>1</n></line><line><n>&lt;2&gt;</n></line>'
        b"<gift>true</gift></order>"
    )


@pytest.mark.parametrize("text", ["\x00", "a\x0bb", "\ud800", "\ufffe"])
def test_what_xml_cannot_say_is_not_written(text: str) -> None:
    """Proves that a character which would break the document is refused before it is sent."""
    assert not vendor_xml.writable(text)
    with pytest.raises(ValueError, match="name has a character"):
        vendor_xml.build("party", {"name": text})


_TEXTS = st.text(max_size=40).filter(vendor_xml.writable)
_NAMES = st.sampled_from(["a", "b-c", "d.e", "_f", "Ünit"])
_TREES = st.recursive(
    _TEXTS,
    lambda inner: st.dictionaries(_NAMES, inner | st.lists(inner, min_size=1, max_size=3)),
    max_leaves=12,
)


@given(_NAMES, _TREES)
def test_what_is_written_is_read(name: str, content: Any) -> None:
    """Proves that every document we write says, when it is read, what it was made of."""
    made = vendor_xml.build(name, content)
    read = vendor_xml.loads(vendor_xml.dumps(made))

    def same(written: Any, found: vendor_xml.Element) -> bool:
        text = (written.text or "").replace("\r\n", "\n").replace("\r", "\n")
        return (
            written.tag == found.name
            and text == found.text
            and len(written) == len(found.children)
            and all(map(same, written, found.children))
        )

    assert same(made, read)
