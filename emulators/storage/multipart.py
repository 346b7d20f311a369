"""XML multipart uploads: what they may hold, and their documents.

https://cloud.google.com/storage/docs/multipart-uploads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from emulators.storage import errors
from emulators.storage.rules import Row

MAX_PARTS = 10_000
LEAST_PART_BYTES = 5 << 20
MAX_DOCUMENT_BYTES = 4 << 20
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

Listed = list[tuple[int, str]]  # part numbers with their ETags


def part_number(raw: str) -> int:
    """1 to 10,000; raises 400."""
    if not raw.isdigit() or not 0 < int(raw) <= MAX_PARTS:
        raise errors.invalid(f"Part number must be an integer between 1 and {MAX_PARTS}: {raw}")
    return int(raw)


def listed(raw: bytes) -> Listed:
    """The parts that a ``CompleteMultipartUpload`` names; raises 400."""
    try:
        root = ElementTree.fromstring(raw)
    except ElementTree.ParseError as error:
        raise errors.invalid(f"Malformed XML: {error}", "MalformedXML") from error
    return [_listed_part(part) for part in root if _local(part) == "Part"]


def _listed_part(part: ElementTree.Element) -> tuple[int, str]:
    members = {_local(member): member.text or "" for member in part}
    return part_number(members.get("PartNumber", "")), members.get("ETag", "").strip('"')


def _local(element: ElementTree.Element) -> str:
    """A tag without its namespace: clients send it with and without."""
    return element.tag.rpartition("}")[2]


def chosen(asked: Listed, stored: Mapping[int, Row]) -> list[Row]:
    """The stored parts that make the object, in their order.

    Raises 400 for none, for an order that does not rise, for a part that is missing or has
    another ETag, and for a part under 5 MiB that is not the last.
    """
    if not asked:
        raise errors.invalid("At least one part is required.", "MalformedXML")
    if any(first >= second for (first, _), (second, _) in pairwise(asked)):
        raise errors.invalid("The parts are not in ascending order.", "InvalidPartOrder")
    for number, etag in asked:
        if number not in stored or stored[number]["md5_hex"] != etag:
            raise errors.invalid(f"Part {number} was not found or has another ETag.", "InvalidPart")
    parts = [stored[number] for number, _ in asked]
    if any(part["size"] < LEAST_PART_BYTES for part in parts[:-1]):
        raise errors.invalid("A part but the last is smaller than 5 MiB.", "EntityTooSmall")
    return parts


def initiated(bucket: str, name: str, upload: str) -> bytes:
    """``InitiateMultipartUploadResult``."""
    return _document("InitiateMultipartUploadResult", Bucket=bucket, Key=name, UploadId=upload)


def completed(location: str, bucket: str, name: str, etag: str) -> bytes:
    """``CompleteMultipartUploadResult``."""
    return _document(
        "CompleteMultipartUploadResult", Location=location, Bucket=bucket, Key=name, ETag=etag
    )


def parts_list(bucket: str, name: str, upload: str, parts: Iterable[Row]) -> bytes:
    """``ListPartsResult``, whole: never truncated."""
    rows = "".join(
        f'<Part><PartNumber>{part["number"]}</PartNumber><ETag>"{part["md5_hex"]}"</ETag>'
        f"<Size>{part['size']}</Size></Part>"
        for part in parts
    )
    head = _document(
        "ListPartsResult", Bucket=bucket, Key=name, UploadId=upload, IsTruncated="false"
    )
    return head.replace(b"</ListPartsResult>", f"{rows}</ListPartsResult>".encode())


def _document(root: str, **members: str) -> bytes:
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in members.items())
    return (
        f"<?xml version='1.0' encoding='UTF-8'?><{root} xmlns='{_NAMESPACE}'>{inner}</{root}>"
    ).encode()
