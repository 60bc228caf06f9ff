from html.parser import HTMLParser

import pytest

from ppo_jax.host.report.markup import data, element, join, picture, table

HOSTILE = "<script>alert('\"&')</script>"


class Reader(HTMLParser):
    """A fragment as a browser reads it: its tags, attributes and text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    "make", [lambda text: element("p", text), join, lambda text: table([text], [[text]])]
)
def test_everything_that_is_not_markup_becomes_text(make):
    reader = Reader(make(HOSTILE))
    assert "script" not in reader.tags
    assert HOSTILE in reader.text


def test_no_text_can_end_an_attribute():
    reader = Reader(element("p", "x", class_=f'"{HOSTILE}', aria_label="it's"))
    assert reader.tags == ["p"]
    assert reader.attributes == [("class", f'"{HOSTILE}'), ("aria-label", "it's")]


def test_markup_inside_markup_stays_markup():
    assert element("p", element("b", "1 < 2"), " & 3") == "<p><b>1 &lt; 2</b> &amp; 3</p>"


def test_elements_without_content_have_no_end_tag():
    assert element("img", src="x") == '<img src="x">'


def test_the_first_cell_of_a_row_names_the_row():
    text = table(("field", "value"), [("a", 1)])
    assert '<th scope="row">a</th><td>1</td>' in text
    assert '<th scope="col">field</th><th scope="col">value</th>' in text


def test_a_picture_has_a_light_and_a_dark_form_and_a_description():
    reader = Reader(picture(b"light", b"dark", alt="a curve"))
    assert ("alt", "a curve") in reader.attributes
    assert ("src", data("png", b"light")) in reader.attributes
    assert reader.attributes[:2] == [
        ("srcset", data("png", b"dark")),
        ("media", "(prefers-color-scheme: dark)"),
    ]


def test_the_address_of_an_image_contains_its_data():
    assert data("gif", b"GIF89a") == "data:image/gif;base64,R0lGODlh"
