"""Forms: parsed as browsers and curl write them, refused beyond the limits, in time that grows with their length only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentoml._http import Request
from bentoml.exceptions import BadInput, UnsupportedMediaType
from bentoml.io._form import MAX_HEADERS_BYTES, MAX_PARTS, Part, base_name, file_name, form_of, parse_form, uploads

TYPE = "multipart/form-data; boundary=xyz"
FIELD = b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
END = b"--xyz--\r\n"


def parse(body: bytes, content_type: str = TYPE) -> list[Part]:
    return list(parse_form(content_type, body))


def test_the_parts_come_with_name_file_name_headers_and_body() -> None:
    body = (
        FIELD + b'--xyz\r\nContent-Disposition: form-data; name="b"; filename="\xc3\xbc.png"\r\n'
        b"Content-Type: image/png\r\nX-Own: 1\r\n\r\n\x00\r\n--xy\r\n" + END
    )
    assert parse(body) == [
        Part("a", None, [(b"content-disposition", b'form-data; name="a"')], b"1"),
        Part(
            "b",
            "ü.png",
            [
                (b"content-disposition", 'form-data; name="b"; filename="ü.png"'.encode()),
                (b"content-type", b"image/png"),
                (b"x-own", b"1"),
            ],
            b"\x00\r\n--xy",
        ),
    ]


@pytest.mark.parametrize("content_type", ['multipart/form-data; boundary="x y\'z"', "Multipart/Form-Data;boundary=xyz"])
def test_the_boundary_may_be_quoted_and_the_type_in_any_case(content_type: str) -> None:
    boundary = b"x y'z" if "'" in content_type else b"xyz"
    assert [part.body for part in parse((FIELD + END).replace(b"xyz", boundary), content_type)] == [b"1"]


def test_a_form_without_parts_has_none() -> None:
    assert parse(END) == []


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/mixed; boundary=xyz", "application/json"])
def test_another_content_type_is_a_415_that_says_how_to_send_a_form(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=r"expected a form, but the content type is '.*' \(hint: send multi"):
        parse(FIELD + END, content_type)


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 71}"],
)
def test_a_form_without_a_proper_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(BadInput, match="must name its boundary, 1 to 70 ASCII characters"):
        parse(FIELD + END, content_type)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        FIELD,
        FIELD[:-3],
        b"preamble\r\n" + FIELD[:20],
        b"--xyz\r\n\r\n1\r\n" + END,
        b"--xyz\r\nContent-Disposition: form-data\r\n\r\n1\r\n" + END,
        b'--xyz\r\nContent-Disposition: attachment; name="a"\r\n\r\n1\r\n' + END,
        b"--xyz\r\nno header\r\n\r\n1\r\n" + END,
        b'--xyz\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n' + END,
        b'--xyz\nContent-Disposition: form-data; name="a"\n\n1\n--xyz--\n',
        FIELD.replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n") + END,
    ],
)
def test_a_malformed_form_is_refused_without_repeating_it(body: bytes) -> None:
    with pytest.raises(BadInput, match="the form cannot be read: ") as caught:
        parse(body)
    assert "\\x" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(FIELD * 100_000 + END, id="parts"),
        pytest.param(b"--xyz\r\n" + b"a: b\r\n" * 100_000 + b"\r\n1\r\n" + END, id="headers"),
        pytest.param(b"--xyz\r\na: " + b"b" * 10_000_000 + b"\r\n\r\n1\r\n" + END, id="header"),
        pytest.param(b"--xyz\r\na: " + b"b" * 10_000_000, id="endless header"),
        pytest.param(FIELD + b"\r\n--xy" * 1_000_000, id="boundaries that are none"),
        pytest.param(FIELD + b"\r" * 10_000_000, id="line ends that are none"),
        pytest.param(
            (FIELD[:-5] + (b'Content-Disposition: form-data; name="a"' + b';b="\\"' * 650 + b"\r\n") * 7 + b"\r\n1\r\n")
            * 900,
            id="parameters",
        ),
    ],
)
def test_a_form_beyond_the_limits_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput, match=rf"the form cannot be read: .* \(hint: {MAX_PARTS} parts at most, each with up"):
        parse(body)


def test_what_follows_the_end_is_passed_over() -> None:
    assert len(parse(FIELD + END + b"--xyz" * 1_000_000)) == 1


def test_a_form_at_the_limits_is_taken() -> None:
    assert len(parse(FIELD * MAX_PARTS + END)) == MAX_PARTS
    assert MAX_PARTS * 100 < MAX_HEADERS_BYTES


@given(st.binary(max_size=200), st.text(max_size=40))
def test_any_bytes_are_parts_or_a_refusal(body: bytes, boundary: str) -> None:
    for content_type in (TYPE, f"multipart/form-data; boundary={boundary}"):
        try:
            parse(FIELD + body + END, content_type)
            parse(body, content_type)
        except (BadInput, UnsupportedMediaType):
            pass


_NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).filter(lambda text: "\\" not in text)


@given(st.lists(st.tuples(_NAMES, st.none() | _NAMES, st.binary(max_size=50)), max_size=5))
def test_a_written_form_is_parsed_to_the_same_parts(parts: list[tuple[str, str | None, bytes]]) -> None:
    body, content_type = form_of(Part(name, file, [(b"x-own", b"1")], content) for name, file, content in parts)
    again = parse(body, content_type.decode())
    assert [
        (part.name.replace("%22", '"'), part.filename and part.filename.replace("%22", '"'), part.body)
        for part in again
    ] == [(name.replace("%22", '"'), file and file.replace("%22", '"'), content) for name, file, content in parts]
    assert all((b"x-own", b"1") in part.raw_headers for part in again)


def test_names_cannot_add_headers_to_a_written_form() -> None:
    body, content_type = form_of([Part('a"; x="\r\nx-forged: 1', "f\r\n\r\nforged", [], b"")])
    [part] = parse(body, content_type.decode())
    assert [name for name, _ in part.raw_headers] == [b"content-disposition"]


def test_headers_cannot_add_headers_to_a_written_form() -> None:
    with pytest.raises(ValueError, match="the header 'x' holds a line break or NUL"):
        form_of([Part("a", None, [(b"x", b"1\r\ny: 2")], b"")])


def test_the_boundary_of_a_written_form_is_32_hex_digits_and_new_each_time() -> None:
    first, second = form_of([])[1], form_of([])[1]
    assert first != second
    boundary = first.removeprefix(b"multipart/form-data; boundary=")
    assert len(boundary) == 32
    assert int(boundary, 16) >= 0


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.png", "a.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\fakepath\\a b.png", "a b.png"),
        ("/etc/", None),
        ("..", None),
        (".", None),
        ("", None),
        ("a\r\nb\0c\x1b[31m.png", "abc[31m.png"),
        ("\u202egnp.exe", "gnp.exe"),
        ("x" * 1000, "x" * 255),
        (None, None),
        (5, None),
    ],
)
def test_of_a_file_name_the_printable_last_component_is_kept(path: object, name: str | None) -> None:
    assert base_name(path) == name


@given(st.text())
def test_no_file_name_is_a_path(path: str) -> None:
    name = base_name(path)
    assert name is None or (name.isprintable() and not set("/\\\0") & set(name) and name not in (".", "..", ""))


def test_the_file_name_of_a_request_is_that_of_its_content_disposition() -> None:
    def named(value: bytes) -> str | None:
        return file_name(Request(raw_headers=[(b"content-disposition", value)]))

    assert named(b'attachment; filename="/tmp/\xc3\xbc.png"') == "ü.png"
    assert named(b"form-data; name=a") is None
    assert named(b"\xff\xfe") is None
    assert file_name(Request()) is None


def test_uploads_are_the_body_or_the_files_of_a_form() -> None:
    raw = Request(body=b"1")
    assert list(uploads(raw)) == [raw]
    typed = b'--xyz\r\nContent-Disposition: form-data; name="b"\r\nContent-Type: text/csv\r\n\r\n2\r\n'
    named = b'--xyz\r\nContent-Disposition: form-data; name="c"; filename="x"\r\n\r\n3\r\n'
    form = Request(
        path="/p", client="me", raw_headers=[(b"content-type", TYPE.encode())], body=FIELD + typed + named + END
    )
    found = list(uploads(form))
    assert [upload.body for upload in found] == [b"2", b"3"]
    assert {(upload.path, upload.client) for upload in found} == {("/p", "me")}
