"""Tensors of strings in binary form, an extension of the Open Inference Protocol that Triton's clients use by default.

A body is JSON, and behind it, in order, the data of those tensors that have no `data` but the parameter `binary_data_size`; the
header `Inference-Header-Content-Length` says how long the JSON is. A string is its length, 4 bytes, little-endian, and its
bytes.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json, to_json
from starlette.responses import Response

from trunkline.serving.http.bodies import check_elements, without_halves
from trunkline.serving.http.errors import Refused

HEADER = "inference-header-content-length"
SIZE = "binary_data_size"


def with_strings(headers: Mapping[str, str], body: bytes, elements: int) -> bytes:
    """The body as JSON alone, with the strings of its binary tensors in the place where JSON has them.

    Raises:
        Refused: lengths that do not agree, bytes that are no UTF-8, or JSON with more elements than so many.
    """
    if (stated := headers.get(HEADER)) is None:
        return body
    if not (stated.isascii() and stated.isdigit() and len(stated) < 10 and int(stated) <= len(body)):
        raise _refused("the header Inference-Header-Content-Length: found no length of a part of the body, expected one")
    check_elements(body[: int(stated)], elements)
    try:
        asked, data = from_json(without_halves(body[: int(stated)])), body[int(stated) :]
    except ValueError:
        return body[: int(stated)]  # it is refused as JSON
    at, tensors = 0, asked.get("inputs") if isinstance(asked, dict) else None
    for tensor in tensors if isinstance(tensors, list) else ():
        parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
        if not isinstance(parameters, dict) or SIZE not in parameters:
            continue
        size = parameters.pop(SIZE)
        if type(size) is not int or not 0 <= size <= len(data) - at or "data" in tensor:
            raise _refused(f"inputs: found a {SIZE} that does not agree with the body, expected the bytes of the tensor's data")
        tensor["data"] = _strings(data[at : at + size])
        at += size
    if at < len(data):
        raise _refused(f"the body: found {len(data) - at} bytes behind its tensors, expected none")
    return to_json(asked)


def binary_response(answer: dict[str, Any]) -> Response:
    """An answer of the protocol whose outputs, tensors of strings, are sent in binary form."""
    parts = []
    for output in answer["outputs"]:
        texts = [text.encode() for text in output.pop("data")]
        parts.append(b"".join(struct.pack("<I", len(text)) + text for text in texts))
        output["parameters"] = {SIZE: len(parts[-1])}
    head = to_json(answer)
    return Response(b"".join([head, *parts]), headers={HEADER: str(len(head))}, media_type="application/octet-stream")


def _strings(data: bytes) -> list[str]:
    found, at = [], 0
    while at < len(data):
        begin = at + 4
        at = begin + int.from_bytes(data[at:begin], "little")
        if begin > len(data) or at > len(data):
            raise _refused("inputs: found a string that is longer than its tensor, expected its length in 4 bytes before it")
        try:
            found.append(data[begin:at].decode())
        except UnicodeDecodeError:
            raise _refused("inputs: found bytes that are no UTF-8, expected texts") from None
    return found


def _refused(sentence: str) -> Refused:
    return Refused(422, "bad_input", sentence)
