"""Write the pictures of the Swagger UI in docs/images: requests that a real Chromium sends to real servers.

    python scripts/screenshots.py

Needs what the tests need (the extra `dev`), and Chromium.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from PIL import Image, ImageDraw  # noqa: E402
from tests import _browser  # noqa: E402  # tests are no installed package
from tests._server import environment, serving  # noqa: E402

IMAGES = ROOT / "docs" / "images"
EXAMPLE = ROOT / "examples" / "credit_risk"
GALLERY = ROOT / "tests" / "services" / "gallery"
#: What readers have, whatever port is free here.
ADDRESS = "localhost:3000"
WIDTH_PX = 1200
#: Of a picture: colours beyond these are those of smoothed letters, whose loss nobody sees.
COLORS = 128


def main() -> None:
    if missing := _browser.missing():
        sys.exit(f"{missing} is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = paint(folder / "lake.png")
        home = folder / "home"
        subprocess.run([sys.executable, "train.py"], cwd=EXAMPLE, env=environment(home), check=True)

        def upload(operation: Any) -> None:
            operation.locator("input[type=file]").set_input_files(photo)

        def fill_form(operation: Any) -> None:
            upload(operation)
            operation.locator("textarea").fill('{\n  "width": 12,\n  "color": "gold"\n}')
            operation.locator("input[type=text]").fill("A lake")

        shoot(EXAMPLE, home, "credit_risk_classifier__classify", "swagger-ui.png", whole_page=True)
        shoot(GALLERY, home, "gallery__quote", "swagger-ui-json.png")
        shoot(GALLERY, home, "gallery__mirror", "swagger-ui-image.png", fill=upload)
        shoot(GALLERY, home, "gallery__hang", "swagger-ui-multipart.png", fill=fill_form)


def shoot(
    service: Path,
    home: Path,
    operation_id: str,
    file_name: str,
    *,
    fill: Callable[[Any], None] = lambda operation: None,
    whole_page: bool = False,
) -> None:
    """Serve, execute one operation, and save what the page shows down to the end of the answer.

    Args:
        whole_page: from the top of the page, not of the operation.
    """
    arguments = ("service:svc", "--working-dir", str(service), "--api-workers", "1")
    with serving(*arguments, folder=home.parent, home=home) as server:
        rule = f"--host-resolver-rules=MAP {ADDRESS} 127.0.0.1:{server.port}"
        with _browser.chromium(rule) as browser:
            page = browser.new_page(viewport={"width": WIDTH_PX, "height": 1000})
            page.goto(f"http://{ADDRESS}/")
            operation = _browser.expanded(page, operation_id)
            fill(operation)
            shown = _browser.execute(operation)
            assert shown.status == 200, shown.text
            operation.locator("button.execute").blur()
            page.mouse.move(0, 0)
            box, answer = operation.bounding_box(), operation.locator(".live-responses-table").bounding_box()
            top = -page.evaluate("scrollY") if whole_page else box["y"] - 4
            bottom = answer["y"] + answer["height"] + 10
            clip = {"x": 0, "y": top + page.evaluate("scrollY"), "width": WIDTH_PX, "height": bottom - top}
            path = IMAGES / file_name
            page.screenshot(path=path, full_page=True, clip=clip, animations="disabled")
    with Image.open(path) as image:
        image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def paint(path: Path) -> Path:
    """A photo to send: a lake in front of a mountain, whose left is not its right."""
    image = Image.new("RGB", (240, 150), "#bfe0f2")
    draw = ImageDraw.Draw(image)
    draw.ellipse((24, 16, 52, 44), fill="#f7c948")
    draw.polygon([(70, 110), (160, 24), (240, 96), (240, 110)], fill="#5b6b7a")
    draw.polygon([(136, 47), (160, 24), (181, 43), (165, 52), (152, 44)], fill="white")
    draw.rectangle((0, 110, 240, 150), fill="#1f7a8c")
    image.save(path)
    return path


if __name__ == "__main__":
    main()
