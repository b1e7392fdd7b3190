"""One warm render worker for all tests of painters."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.support import paint


@pytest.fixture(scope="session")
def painter() -> Iterator[paint.Painter]:
    painter = paint.Painter()
    yield painter
    painter.close()


@pytest.fixture
def rendered(painter, tmp_path):
    """Renders a Pillow image, or the content of a file, and returns the result as a Pillow image."""

    def render(source, *operations, format="png", **options):
        path = source if isinstance(source, Path) else tmp_path / "source"
        if isinstance(source, Image.Image):
            source.save(path, "PNG")
        elif isinstance(source, bytes):
            path.write_bytes(source)
        answer, content = painter.paint(paint.recipe(path, format, *operations, **options))
        assert "error" not in answer, answer
        image = Image.open(BytesIO(content))
        assert (image.width, image.height) == (answer["width"], answer["height"])
        return image

    return render


@pytest.fixture
def refused(painter, tmp_path):
    """The reason for which a recipe is refused."""

    def refuse(source, *operations, format="png", **options):
        path = source if isinstance(source, Path) else tmp_path / "source"
        if isinstance(source, Image.Image):
            source.save(path, "PNG")
        elif isinstance(source, bytes):
            path.write_bytes(source)
        answer, content = painter.paint(paint.recipe(path, format, *operations, **options))
        assert content == b""
        return answer["error"], answer["message"]

    return refuse
