"""Provenance: what files say of themselves: that a model made their pictures, and which.

Two readers are served. People and players get a title, a comment and a description in the fields
that every container has. Platforms look for the IPTC's digital source type, as XMP: in QuickTime
files it lies in the user data of the header, in MP4 in a box of its own at the end, as Adobe's XMP
specification (part 3) has it; readers that do not know the box pass over it.

No prompt is written: words may be private, and a file goes where its author does not. A preset's
name is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import brushcast
from brushcast.errors import ConfigError

# "Edited using generative AI": a camera's picture, painted anew by a model.
SOURCE_TYPE = "compositeWithTrainedAlgorithmicMedia"
SOURCE_TYPE_URI = f"http://cv.iptc.org/newscodes/digitalsourcetype/{SOURCE_TYPE}"
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
   <xmp:CreatorTool>{tool}</xmp:CreatorTool>
   <dc:description>
    <rdf:Alt><rdf:li xml:lang="x-default">{comment}</rdf:li></rdf:Alt>
   </dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What made the pictures of a file. engine: its name, "remote" for another machine's.

    look: the preset's name, or how it was changed; never a prompt.
    """

    engine: str
    look: str

    @classmethod
    def from_json(cls, table: object) -> Origin | None:
        """None stays None. Raises ConfigError for anything but `{"engine": …, "look": …}`."""
        if table is None:
            return None
        if not isinstance(table, Mapping) or set(table) != {"engine", "look"}:
            raise ConfigError(f"origin {table!r}: wanted an engine and a look")
        return cls(engine=str(table["engine"]), look=str(table["look"]))

    def to_json(self) -> dict[str, Any]:
        return {"engine": self.engine, "look": self.look}

    @property
    def comment(self) -> str:
        """One sentence for people."""
        return (
            f"AI-generated pictures: video restyled by {_tool()} "
            f"(engine {self.engine}, look {self.look})."
        )

    def tags(self, format_name: str) -> dict[str, str]:
        """The container's own fields. format_name: FFmpeg's name of the format."""
        if format_name == "mpegts":  # it has no others
            return {"service_name": f"AI-restyled ({self.look})", "service_provider": _tool()}
        tags = {
            "title": "AI-restyled video",
            "comment": self.comment,
            "description": f"Digital source type: {SOURCE_TYPE} ({SOURCE_TYPE_URI})",
        }
        if format_name == "mov":
            tags["xmp"] = self.xmp()
        elif format_name == "matroska":
            tags["DIGITAL_SOURCE_TYPE"] = SOURCE_TYPE_URI
        return tags

    def xmp(self) -> str:
        """An XMP packet."""
        fields = {"source_type": SOURCE_TYPE_URI, "tool": _tool(), "comment": self.comment}
        return _XMP.format(**{name: escape(value) for name, value in fields.items()})

    def closing_box(self, format_name: str) -> bytes:
        """What an MP4 file ends with once it is whole; nothing for other formats."""
        if format_name != "mp4":
            return b""
        content = XMP_UUID + self.xmp().encode()
        return (8 + len(content)).to_bytes(4, "big") + b"uuid" + content


def _tool() -> str:
    return f"Brushcast {brushcast.__version__}"
