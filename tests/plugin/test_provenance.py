"""What files say of themselves: right in every format, and never more than it should."""

import xml.etree.ElementTree as ElementTree

import pytest

import brushcast
from brushcast.errors import ConfigError
from brushcast.provenance import SOURCE_TYPE_URI, XMP_UUID, Origin

ORIGIN = Origin(engine="pocket", look='<"my" & look>')
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
XMP = "{http://ns.adobe.com/xap/1.0/}"


def test_the_comment_says_ai_and_what_made_it() -> None:
    for part in ("AI", f"Brushcast {brushcast.__version__}", "pocket", ORIGIN.look):
        assert part in ORIGIN.comment


def test_every_format_gets_what_it_can_hold() -> None:
    for name in ("mp4", "mov", "matroska"):
        tags = ORIGIN.tags(name)
        assert tags["comment"] == ORIGIN.comment
        assert "AI" in tags["title"]
        assert SOURCE_TYPE_URI in " ".join(tags.values())
    assert ORIGIN.tags("mpegts")["service_provider"] == f"Brushcast {brushcast.__version__}"
    assert "AI" in ORIGIN.tags("mpegts")["service_name"]
    assert ORIGIN.tags("mov")["xmp"] == ORIGIN.xmp()
    assert [bool(ORIGIN.closing_box(name)) for name in ("mp4", "mov", "matroska")] == [
        True, False, False,
    ]  # fmt: skip


def test_the_xmp_is_well_formed_whatever_a_look_is_called() -> None:
    root = ElementTree.fromstring(ORIGIN.xmp())
    kind, tool = next(root.iter(f"{IPTC}DigitalSourceType")), next(root.iter(f"{XMP}CreatorTool"))
    assert kind.text == SOURCE_TYPE_URI
    assert tool.text == f"Brushcast {brushcast.__version__}"
    assert ORIGIN.comment in "".join(root.itertext())


def test_the_box_has_its_length_its_kind_and_its_number() -> None:
    box = ORIGIN.closing_box("mp4")
    assert int.from_bytes(box[:4], "big") == len(box)
    assert box[4:8] == b"uuid"
    assert box[8:24] == XMP_UUID
    assert str(XMP_UUID.hex()).upper() == "BE7ACFCB97A942E89C71999491E3AFAC"
    assert box[24:].decode() == ORIGIN.xmp()


def test_it_survives_the_pipe_and_is_read_strictly() -> None:
    assert Origin.from_json(ORIGIN.to_json()) == ORIGIN
    assert Origin.from_json(None) is None
    for wrong in ({}, {"engine": "x"}, {"engine": "x", "look": "y", "prompt": "z"}, "x"):
        with pytest.raises(ConfigError, match="wanted an engine and a look"):
            Origin.from_json(wrong)
