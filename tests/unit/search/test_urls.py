"""When two addresses are the same page."""

from __future__ import annotations

import pytest

from rlmwatch.search.urls import is_web, same

PAGE = "https://example.org/a/B?x=1&y="


@pytest.mark.parametrize(
    "other",
    [
        "http://example.org/a/B?x=1&y=",
        "https://www.EXAMPLE.org:443/a/B?x=1&y=",
        "https://example.org/a/B?x=1&y=#part",
        "https://example.org/a/B/?x=1&y=",
        "https://example.org/a/B?utm_source=n&x=1&fbclid=2&y=",
        "https://example.org/%61/B?x=%31&y=",
    ],
)
def test_what_says_nothing_about_the_page_does_not_count(other):
    """Scheme, www, port, fragment, last slash, tracking and spelling are no difference."""
    assert same(other) == same(PAGE)


@pytest.mark.parametrize(
    "other",
    [
        "https://example.org/a/b?x=1&y=",
        "https://example.org/a/B?x=2&y=",
        "https://example.org/a/B",
        "https://example.org/a/B/c?x=1&y=",
        "https://blog.example.org/a/B?x=1&y=",
        "https://example.org:8443/a/B?x=1&y=",
    ],
)
def test_another_path_parameter_or_host_is_another_page(other):
    """What may be another page is one."""
    assert same(other) != same(PAGE)


def test_names_in_other_scripts_are_one_name():
    """A host and a path are the same in their own letters and in ASCII."""
    assert same("https://münchen.example/stra%C3%9Fe") == same("https://xn--mnchen-3ya.example/straße")


@pytest.mark.parametrize("text", ["", "a", "ftp://a.example", "https://", "http://[::1", "https://a:b/", "data:x"])
def test_what_is_no_address_of_the_web_is_no_page(text):
    """Only http and https lead to pages."""
    assert same(text) == ""
    assert not is_web(text)


def test_an_address_is_one_word():
    """An address with white space, brackets or control characters could break out of where it is shown."""
    assert is_web("https://a.example/b")
    for bad in ("https://a.example/b c", "https://a.example/<b", "https://a.example/\x1b", 'https://a.example/"'):
        assert not is_web(bad)
