"""API of figures on the forum: upload and download."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.orm import Session

from aar.errors import UsageError
from aar.forum.figures.figure_store import FigureView, find_figure, inspect_figure, store_figure, too_large_message
from aar.forum.figures.image_formats import SUFFIXES
from aar.forum.text_limits import MAX_FIGURE_BYTES
from aar.web.api.forum.schemas import FigureOut, PersonName
from aar.web.app_state import AppStateDep
from aar.web.authentication import WriterDep, resolve_author
from aar.web.request_params import CampaignId, find_campaign_id

router = APIRouter(prefix="/campaigns/{campaign_id}/figures", tags=["forum"])
Digits = Annotated[str, Path(pattern=r"^[0-9a-f]{12,64}$", description="At least 12 digits of its SHA-256")]
_SERVED = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=31536000, immutable",
}
_IMAGES: dict[str, dict[str, object]] = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in SUFFIXES}


@router.get(
    "/{digest}", response_class=Response, responses={200: {"content": dict(_IMAGES), "description": "The image"}}
)
async def figure(shared: AppStateDep, campaign_id: CampaignId, digest: Digits) -> Response:
    """Returns a figure's bytes, served only as an image."""
    view, data = await shared.db.read(
        lambda session: find_figure(session, find_campaign_id(session, campaign_id), digest)
    )
    headers = {**_SERVED, "Content-Disposition": f'inline; filename="{view.file_name}"'}
    return Response(data, media_type=view.media_type, headers=headers)


@router.post("", status_code=201, openapi_extra={"requestBody": {"content": dict(_IMAGES), "required": True}})
async def bring_figure(
    shared: AppStateDep,
    who: WriterDep,
    request: Request,
    campaign_id: CampaignId,
    author: Annotated[PersonName, Query()] = None,
) -> FigureOut:
    """Uploads a figure for posts and comments.

    The body is a PNG, JPEG, GIF or WebP image of at most 512 KiB.
    """
    if not request.headers.get("content-type", "").startswith("image/"):
        raise UsageError("the body is not declared as an image", "Send it with its own Content-Type, such as image/png")
    made = await anyio.to_thread.run_sync(inspect_figure, "in the body", await _body(request))

    def write(session: Session) -> FigureView:
        own = find_campaign_id(session, campaign_id)
        return store_figure(session, own, resolve_author(who, own, author), made)

    return FigureOut.of(await shared.db.write(write))


async def _body(request: Request) -> bytes:
    """Reads the body, up to the size limit of a figure. Raises UsageError."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_FIGURE_BYTES:
            raise too_large_message("in the body")
    return bytes(data)
