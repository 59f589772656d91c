"""Examples for OpenAPI. `tests/serve` compares their fields with those of real answers."""

from __future__ import annotations

from typing import Any

_INDEX = {
    "run_id": "20261102T010000Z-5f2c9a",
    "as_of": "2026-11-02T01:00:00+00:00",
    "age_s": 28_800,
    "built_at": "2026-11-02T02:10:31+00:00",
    "versions": {"hash": "4f1d…", "decide": "a03c…", "dupelake": "0.1.0"},
    "profile": None,
}
_KEEPER = {"image_id": "9c1185a5c5e9fc54612808977ee8f548", "uri": "/data/photos/cat.png"}
ANSWER = {
    "image": "upload.jpg",
    "status": "copy",
    "image_id": "d4735e3a265e16eee03f59718b9b5d03",
    "scope": "",
    "content_id": "4e07408562bedb8b60ce05c1decfe3ad",
    "is_stored": False,
    "reason": None,
    "message": None,
    "group": {
        "group_id": "6b86b273ff34fce19d6b804eff5a3f57",
        "size": 3,
        "keeper": _KEEPER,
        "link_to": _KEEPER,
        "relation": "copy",
        "kind": "near",
        "score_to_keeper": 0.998,
        "compared_with": _KEEPER["image_id"],
        "tier": "verified",
        "is_removable": False,
        "reason": "Copy: same picture at half the size (320x214 against 640x427), JPEG quality about 60.",
    },
    "pairs": [
        {
            "content_id": "ef2d127de37b942baad06145e54b0c61",
            "images": [_KEEPER],
            "score": 0.998,
            "kind": "near",
            "is_duplicate": True,
            "found_by": "phash+pdq+words",
            "evidence": "147 matched keypoints, all of the picture agrees",
            "measures": {"phash_bits": 0, "pdq_bits": 4, "n_inliers": 147},
        }
    ],
    "in_folder": [],
    "index": _INDEX,
    "action": "accept",
}
_FAILED = ANSWER | {
    "status": "failed",
    "content_id": None,
    "group": None,
    "pairs": [],
    "reason": "undecodable",
    "message": "no known format of images",
    "action": "skip",
}
IMAGE = {
    "image_id": _KEEPER["image_id"],
    "uri": _KEEPER["uri"],
    "scope": "",
    "status": "ok",
    "content_id": "ef2d127de37b942baad06145e54b0c61",
    "width_px": 640,
    "height_px": 427,
    "format": "PNG",
    "group": {"group_id": "6b86b273ff34fce19d6b804eff5a3f57", "is_keeper": True, "relation": "keeper"},
    "index": _INDEX,
}
GROUP = {
    "group_id": "6b86b273ff34fce19d6b804eff5a3f57",
    "size": 1,
    "images": [{**_KEEPER, "is_keeper": True, "relation": "keeper", "reason": "Keeper: most pixels."}],
    "index": _INDEX,
}


def _shown(text: str, example: Any) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"example": example}}}


REFUSED = _shown(
    "Refused; `Retry-After` says when another try may succeed.", {"reason": "busy", "message": "no process was free"}
)
CHECK_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: _shown("One answer for each image, in their order.", {"answers": [ANSWER]}),
    403: _shown("`serve.fetch_urls` is off.", {"reason": "no_urls", "message": "this server reads no URLs"}),
    408: _shown("The request came too slowly.", {"reason": "too_slow", "message": "not within 30 s"}),
    413: _shown("More than `serve.max_bytes`.", {"reason": "too_large", "message": "more than 33554432 bytes"}),
    415: _shown("Neither a form nor JSON.", {"reason": "other_type", "message": "give multipart/form-data"}),
    422: _shown(
        "No image could be read (`answers` say why), or the request has a fault (`reason`, `message`).",
        {"answers": [_FAILED]},
    ),
    429: _shown("Too many requests wait.", {"reason": "too_many", "message": "34 requests are at work or wait"}),
}
CHECK_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                "required": ["image"],
            }
        },
        "application/json": {
            "schema": {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
            "example": {"url": "https://images.example.org/cat.jpg"},
        },
    },
}
GROUP_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: _shown("The group.", GROUP),
    404: _shown("There is none.", {"reason": "not_found", "message": "the index shows no group with this id"}),
}
IMAGE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: _shown("The row of `images`, with the row of `groups`.", IMAGE),
    404: _shown("There is none.", {"reason": "not_found", "message": "the index shows no image with this id"}),
}
DECISIONS: dict[str, Any] = {
    "apart": {
        "summary": "Two images are no copies of each other",
        "value": {
            "author": "ann",
            "verdicts": [
                {"image": "/data/photos/cat.png", "verdict": "not_duplicate", "other": "/data/photos/dog.png"}
            ],
        },
    },
    "keeper": {
        "summary": "The image to keep",
        "value": {"author": "ann", "verdicts": [{"image": _KEEPER["image_id"], "verdict": "keeper"}]},
    },
}
DECISION_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: _shown("Verdicts added, and those that the author had given.", {"added": 1, "known": 0}),
    409: _shown("The warehouse has no such table yet.", {"reason": "no_table", "message": "run a night first"}),
    422: _shown(
        "All faults; nothing was written.",
        {"reason": "bad_verdicts", "message": "…", "faults": ["verdict 1: no image 'x' that was read"]},
    ),
    429: _shown("Too many write verdicts.", {"reason": "too_many", "message": "others write verdicts; try again"}),
    501: _shown("The warehouse is not local.", {"reason": "not_local", "message": "use `dupelake decide`"}),
}
