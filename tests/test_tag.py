"""Tags: the one parser of names and versions."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentoml.exceptions import BentoMLException
from bentoml.tag import Tag

HOSTILE = [
    "../x",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "/etc/passwd",
    "~",
    "$HOME",
    "a b",
    "a\n",
    "a\x00b",
    "-a",
    "a-",
    ".hidden",
    "a.",
    "é",
    "a;id",
    "$(id)",
    "x" * 64,
]


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("iris", "iris", None),
        ("iris:v1", "iris", "v1"),
        ("iris:latest", "iris", "latest"),
        ("a.b_c-d:0.1.0", "a.b_c-d", "0.1.0"),
        ("x" * 63, "x" * 63, None),
    ],
)
def test_a_tag_is_a_name_and_perhaps_a_version(text: str, name: str, version: str | None) -> None:
    tag = Tag.from_str(text)
    assert (tag.name, tag.version) == (name, version)
    assert str(tag) == text
    assert repr(tag) == f"Tag(name={name!r}, version={version!r})"


@pytest.mark.parametrize("part", HOSTILE)
def test_a_hostile_name_or_version_is_no_tag(part: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a tag"):
        Tag(part)
    with pytest.raises(ValueError, match="cannot be the version of a tag"):
        Tag("iris", part)


@pytest.mark.parametrize("text", ["latest/../..", "../x:v1", "iris:../x", "iris:v1:v2", ":v1", "iris:"])
def test_a_hostile_text_is_no_tag(text: str) -> None:
    with pytest.raises((ValueError, BentoMLException)):
        Tag.from_str(text)


def test_a_text_without_its_version_says_what_to_write() -> None:
    with pytest.raises(BentoMLException, match=r"no version after its colon \(hint: use iris:latest\)"):
        Tag.from_str("iris:")


def test_upper_case_is_lowered_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Tag("Iris", "V1") == Tag("iris", "v1")
    assert "converting the name of a tag Iris to lowercase: iris" in caplog.text


def test_a_tag_stays_the_same_object() -> None:
    tag = Tag("iris", "v1")
    assert Tag.from_taglike(tag) is tag
    assert Tag.from_taglike("iris:v1") == tag


def test_tags_are_ordered_by_name_then_version_and_hashable() -> None:
    tags = [Tag("b"), Tag("a", "2"), Tag("a", "10"), Tag("a")]
    assert sorted(tags) == [Tag("a"), Tag("a", "10"), Tag("a", "2"), Tag("b")]
    assert len({Tag("a", "1"), Tag("a", "1"), Tag("a")}) == 2
    assert Tag("a") != "a"


def test_a_new_version_has_sixteen_characters_and_is_new() -> None:
    versions = {Tag("iris").make_new_version().version for _ in range(1000)}
    assert len(versions) == 1000
    assert all(
        version and len(version) == 16 and set(version) <= set("abcdefghijklmnopqrstuvwxyz234567")
        for version in versions
    )
    with pytest.raises(ValueError, match="has a version already"):
        Tag("iris", "v1").make_new_version()


def test_a_tag_knows_its_path_in_a_store() -> None:
    assert Tag("iris", "v1").path() == "iris/v1"
    assert Tag("iris").latest_path() == "iris/latest"
    with pytest.raises(ValueError, match="has no version"):
        Tag("iris").path()


@given(st.text(), st.text())
def test_whatever_is_a_tag_has_a_path_of_two_folders_inside_the_store(name: str, version: str) -> None:
    try:
        path = Tag(name, version).path()
    except ValueError:
        return
    assert len(PurePosixPath(path).parts) == 2
    assert Path("/store", path).resolve().parent.parent == Path("/store")
