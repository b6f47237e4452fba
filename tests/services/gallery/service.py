"""What a visitor of the Swagger UI meets: a document, a picture, a form."""

from __future__ import annotations

from typing import Any, Literal

from PIL import ImageOps
from PIL.Image import Image as Picture
from pydantic import BaseModel, Field

import bentoml
from bentoml.io import JSON, Image, Multipart, Text

svc = bentoml.Service("gallery")


class Visit(BaseModel):
    visitors: int = Field(ge=1, le=30, examples=[2])
    exhibition: Literal["portraits", "landscapes"] = "portraits"
    guide: str | None = Field(None, description="The language of the guided tour, if there should be one.")


class Ticket(BaseModel):
    price: float = Field(description="In euros.")
    guided: bool


class Frame(BaseModel):
    width: int = Field(ge=1, le=100, examples=[8], description="Of the frame on each side, in pixels.")
    color: str = Field("white", examples=["gold"])


@svc.api(input=JSON(pydantic_model=Visit), output=JSON(pydantic_model=Ticket))
def quote(visit: Visit) -> Ticket:
    """What a visit costs."""
    return Ticket(price=12.5 * visit.visitors, guided=visit.guide is not None)


@svc.api(input=Image(), output=JSON())
def describe(image: Picture) -> dict[str, Any]:
    """Size and mean colour of a picture."""
    red, green, blue = image.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]  # RGB has three
    return {"width": image.width, "height": image.height, "mean": f"#{red:02x}{green:02x}{blue:02x}"}


@svc.api(input=Image(), output=Image(mime_type="image/png"))
def mirror(image: Picture) -> Picture:
    """The picture, seen in a mirror."""
    return ImageOps.mirror(image)


@svc.api(
    input=Multipart(image=Image(), frame=JSON(pydantic_model=Frame), title=Text.from_sample("Untitled")),
    output=JSON(),
)
def hang(image: Picture, frame: Frame, title: str) -> dict[str, Any]:
    """Put a picture into a frame: how much of the wall it takes."""
    size = [image.width + 2 * frame.width, image.height + 2 * frame.width]
    return {"title": title, "size": size, "color": frame.color}
