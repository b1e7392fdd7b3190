"""SVG as a source and as a result: nothing active, no other files, sizes in CSS pixels."""

import re
from xml.etree import ElementTree

import pytest
from PIL import Image

from tests.support import images, paint

pytestmark = pytest.mark.any_database

SVG = "{http://www.w3.org/2000/svg}"
DRAWING = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="40" height="20">
<rect id="box" width="40" height="20" fill="blue"/>{}</svg>"""


@pytest.fixture
def vector(painter, tmp_path):
    """The root of an SVG after the operations, and its text."""

    def render(content, *operations):
        (tmp_path / "drawing").write_text(content)
        answer, result = painter.paint(paint.recipe(tmp_path / "drawing", "svg", *operations, to="svg"))
        assert "error" not in answer, answer
        return ElementTree.fromstring(result), result.decode()

    return render


def test_a_resized_svg_stays_a_vector(vector):
    root, _ = vector(DRAWING, {"resize": {"width": 400}})
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("400", "200", "0 0 40 20")
    assert root.find(f"{SVG}rect").get("fill") == "blue"


def test_an_absolute_resize_stretches(vector):
    root, _ = vector(DRAWING, {"resize": {"width": 50, "height": 50, "mode": "absolute"}})
    assert root.get("preserveAspectRatio") == "none"


def test_elements_that_are_nested_too_deep_are_refused(refused, vector):
    vector(DRAWING.format("<g>" * 255 + "</g>" * 255))
    reason, message = refused(DRAWING.format("<g>" * 5000 + "</g>" * 5000).encode(), format="svg", to="svg")
    assert (reason, "256 levels" in message) == ("render_too_large", True)


@pytest.mark.parametrize("operation", [{"blur": {}}, {"svg2bitmap": {}}, {"autorotate": {"width": 1, "height": 2}}])
def test_operations_on_pixels_can_not_give_an_svg(refused, operation):
    assert refused(images.svg(), operation, format="svg", to="svg")[0] == "format_unavailable"


def test_a_bitmap_can_not_become_an_svg(refused):
    assert refused(images.png(), to="svg")[0] == "format_unavailable"


@pytest.mark.parametrize(
    "part",
    [
        "<script>alert(1)</script>",
        '<g onload="alert(1)" ONCLICK="alert(1)"/>',
        '<a href="javascript:alert(1)"><text>x</text></a>',
        '<a xlink:href="https://alert.example/"><text>x</text></a>',
        '<image href="https://alert.example/x.png" width="9" height="9"/>',
        '<image xlink:href="file:///etc/alert" width="9" height="9"/>',
        '<image href="data:image/svg+xml;base64,alert"/>',
        '<use href="other.svg#alert"/>',
        '<use xlink:href="https://alert.example/#x"/>',
        "<foreignObject><div xmlns='http://www.w3.org/1999/xhtml' onclick='alert(1)'/></foreignObject>",
        '<x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>',
        "<style>@import url(https://alert.example/x.css); rect { fill: url('https://alert.example/x') }</style>",
        '<rect style="fill:url(https://alert.example/#x)"/>',
        "<style>rect { fill: image-set('https://alert.example/x' 1x) } @IMPORT 'https://alert.example/y';</style>",
        '<rect style="fill: \\75 rl(https://alert.example/x)"/>',
        '<rect fill="url( &#x22;//alert.example/x&#x22; )"/>',
        '<set attributeName="onclick" to="alert(1)"/>',
        '<animate attributeName="xlink:href" to="javascript:alert(1)"/>',
        '<g xml:base="https://alert.example/"/>',
        "<?xml-stylesheet href='https://alert.example/x.css'?>",
        "<!-- alert -->",
    ],
)
def test_active_content_and_references_are_removed(vector, part):
    root, text = vector(DRAWING.format(part))
    assert "alert" not in text
    assert "script" not in text
    assert root.find(f"{SVG}rect").get("id") == "box"


def test_what_is_harmless_is_kept(vector):
    data = "data:image/png;base64,iVBORw0KGgo="
    part = (
        f'<defs><linearGradient id="g"/></defs><rect fill="url(#g)" style="opacity:0.5"/><use href="#g"/>'
        f"""<a href="https://example.com/"><circle fill="url( '#g')"/></a>"""
        f'<image href="{data}"/><style>rect {{ stroke: red }}</style><text>A &lt;b&gt; &amp; c</text>'
    )
    _, text = vector(DRAWING.format(part))
    for kept in (
        "url(#g)",
        "opacity:0.5",
        'href="#g"',
        data,
        "stroke: red",
        "A &lt;b&gt; &amp; c",
        "url( '#g')",
        "circle",
    ):
        assert kept in text


# --- svgdynamic -------------------------------------------------------------------------------------------------------


def change(attribute, value, id="box"):
    return {"svgdynamic": {"changes": [{"id": id, "attr": attribute, "value": value}]}}


def test_an_attribute_is_changed_before_the_svg_is_rasterized(rendered):
    image = rendered(DRAWING.format("").encode(), {"resize": {"width": 80}}, change("fill", "#ff0000"), format="svg")
    assert image.size == (80, 40)
    assert image.convert("RGB").getpixel((40, 20)) == (255, 0, 0)


def test_values_are_escaped(vector):
    value = '"/><script>alert(1)</script><rect x="'
    root, text = vector(DRAWING.format(""), change("fill", value))
    assert root.find(f"{SVG}rect").get("fill") == value
    assert "<script" not in text


def test_an_id_that_does_not_exist_changes_nothing(vector):
    root, _ = vector(DRAWING.format(""), change("fill", "red", id="other"))
    assert root.find(f"{SVG}rect").get("fill") == "blue"


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("onclick", "alert(1)"),
        ("href", "#x"),
        ("xlink:href", "#x"),
        ("style", "fill:red"),
        ("xmlns", "x"),
        ("id", "x"),
        ("a b", "x"),
        ("fill", "url(https://example.com/x)"),
        ("fill", "javascript:alert(1)"),
    ],
)
@pytest.mark.parametrize("to", ["svg", "png"])
def test_dangerous_changes_are_refused(refused, attribute, value, to):
    reason, _ = refused(DRAWING.format("").encode(), change(attribute, value), format="svg", to=to)
    assert reason == "invalid_operation"


# --- Rasterized -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ('width="30" height="20"', (30, 20)),
        ('width="1in" height="48pt"', (96, 64)),
        ('viewBox="0 0 50 25"', (50, 25)),
        ('width="100" viewBox="0 0 50 25"', (100, 50)),
    ],
)
def test_the_size_is_in_css_pixels(rendered, size, expected):
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="9" height="9"/></svg>'
    assert rendered(drawing.encode(), format="svg").size == expected


def test_enlarging_keeps_edges_sharp(rendered):
    content = b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><rect width="2" height="4"/></svg>'
    alpha = rendered(content, {"resize": {"width": 400}}, format="svg").getchannel("A")
    assert (alpha.getpixel((198, 200)), alpha.getpixel((202, 200))) == (255, 0)


def test_no_other_file_is_read(rendered, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (40, 20), "red").save(secret)
    for reference in (str(secret), f"file://{secret}", "secret.png"):
        part = "".join(f'<image {name}="{reference}" width="40" height="20"/>' for name in ("href", "xlink:href"))
        image = rendered(DRAWING.format(part).encode(), format="svg").convert("RGB")
        assert image.getpixel((20, 10)) == (0, 0, 255)


@pytest.mark.parametrize("declared", ["", '<?xml version="1.0" encoding="ISO-8859-1"?>'])
def test_text_in_other_encodings(vector, painter, tmp_path, declared):
    (tmp_path / "drawing").write_bytes((declared + DRAWING.format("<title>caf\xe9</title>")).encode("latin-1"))
    answer, content = painter.paint(paint.recipe(tmp_path / "drawing", "svg", to="svg"))
    assert "error" not in answer
    assert re.search("caf[é�]", content.decode())
