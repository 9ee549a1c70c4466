"""daemon/log.py: stable events, and never a secret."""

import base64
import io
import json
import logging

import structlog

from rlmwatch.daemon.logging import Redactor, configure, observe

KEY = "sk-or-v1-0123456789abcdef"


def test_no_line_holds_a_key():
    """Wherever a key stands in an event (text, list, exception), it is replaced."""
    out = io.StringIO()
    configure("json", Redactor([KEY]), stream=out)
    log = structlog.get_logger()
    log.info("a.b", text=f"Bearer {KEY}", nested={"list": [KEY, 1]}, error=ValueError(KEY))
    try:
        raise RuntimeError(f"refused {KEY}")
    except RuntimeError:
        log.exception("a.fault")
    logging.getLogger("library").warning("told %s", KEY)
    assert KEY not in out.getvalue()
    assert out.getvalue().count("[secret]") >= 5


def test_a_key_in_another_form_is_a_key():
    """What a server made of a key (upper case, base64, a line break in it) is replaced in the log, too."""
    redactor = Redactor([KEY])
    for form in (KEY.upper(), base64.b64encode(KEY.encode()).decode(), f"{KEY[:9]}\n{KEY[9:]}", KEY[:16]):
        assert redactor.text(f"bad key {form}").startswith("bad key [secret]")


def test_json_lines_are_one_object_each():
    """A program reads each line by itself: event, level, time and facts."""
    out = io.StringIO()
    configure("json", Redactor(), stream=out)
    structlog.get_logger().info("save.admitted", path="a_input.txt", run="r1", problem=None)
    line = json.loads(out.getvalue())
    assert line["event"] == "save.admitted"
    assert (line["level"], line["path"], line["problem"]) == ("info", "a_input.txt", None)
    assert line["timestamp"].endswith("Z")


def test_text_for_a_file_has_no_colours():
    """Only a terminal is coloured."""
    out = io.StringIO()
    configure("text", Redactor(), stream=out)
    structlog.get_logger().info("ready", workspace="/w")
    assert "\x1b" not in out.getvalue()
    assert "workspace=/w" in out.getvalue()


def test_an_observer_gets_the_facts_without_secrets_and_faults_in_words(capsys):
    """In place of a log: name, level and facts, what was raised with its traceback, other libraries; no print."""
    events = []
    observe(events.append, Redactor([KEY]))
    log = structlog.get_logger()
    log.info("ready", answers=f"with {KEY}")
    log.debug("too.small")
    try:
        raise RuntimeError(f"refused {KEY}")
    except RuntimeError as error:
        log.exception("jobs.fault", what="x")
        log.error("view.failed", exc_info=error)  # noqa: TRY400 (as where it was raised elsewhere)
        logging.getLogger("library").warning("told %s", KEY, exc_info=True)
    configure("text", Redactor(), stream=io.StringIO())
    assert KEY not in repr(events)
    assert [(each["event"], each["level"]) for each in events] == [
        ("ready", "info"),
        ("jobs.fault", "error"),
        ("view.failed", "error"),
        ("library says", "warning"),
    ]
    assert {each["fault"] for each in events[1:]} == {"RuntimeError: refused [secret]"}
    assert all("test_logging.py" in each["traceback"] for each in events[1:])
    assert capsys.readouterr() == ("", "")


def test_short_words_are_no_secrets():
    """A key of a few characters would eat ordinary words out of the log."""
    assert Redactor(["key"]).text("the key is set") == "the key is set"


def test_the_longest_secret_goes_first():
    """A secret that begins with another is replaced whole."""
    assert Redactor(["secret-1", "secret-12345"]).text("secret-12345") == "[secret]"


def test_a_line_of_text_moves_no_terminal_and_stays_one_line():
    """Keys and values with controls, direction marks or line breaks are written out; a traceback keeps its lines."""
    out = io.StringIO()
    configure("text", Redactor(), stream=out)
    structlog.get_logger().info("save.admitted", path="a\x1b[2J\nready workspace=/x\u202e", **{"k\x9b5m": 1})
    line = out.getvalue()
    assert line.count("\n") == 1
    assert not set(line) & {"\x1b", "\x9b", "\u202e"}
    try:
        raise RuntimeError("bad \x1b[2J")
    except RuntimeError:
        structlog.get_logger().exception("run.internal_error")
    assert "\x1b" not in out.getvalue()
    assert "Traceback (most recent call last):\n" in out.getvalue()
