"""Text from outside, made safe to store, show and send; and the names in it: ``s7``, ``#12``, a person's.

Nothing is lost: characters that a terminal, a database or a reader could take for something else (control codes,
bidirectional overrides, invisible tags, lone surrogates) are replaced by visible notation; everything else stays as
written.
"""

from __future__ import annotations

import re

from aar.errors import UsageError

PERSON_NAME_PATTERN = r"^[\w .-]+$"
PERSON_NAME_LENGTH = 40
SUBMISSION_PATTERN = r"^s?[1-9][0-9]{0,8}$"
_SUBMISSION = re.compile(r"[sS]?([0-9]{1,9})")
_POST = re.compile(r"#?([0-9]+)")
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_UNSAFE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\U000e0000-\U000e007f]"
)
"""The last ones are tags: letters that no screen shows but a model reads."""
_SPACE = re.compile(r"\s+")


def repair_surrogates(text: str) -> str:
    """Join pairs of surrogates and replace single ones, which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def make_storable(text: str) -> str:
    """Return the text in whole characters, without NULs.

    PostgreSQL does not store NULs.
    """
    return repair_surrogates(text).replace("\0", "\ufffd")


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # the Unicode picture of the control code, such as ␀
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return "\u2421" if code == 0x7F else f"\\u{code:04x}"


def clean_text(text: str) -> str:
    """Clean text of several lines.

    Line ends become LF, unsafe characters become visible notation.
    """
    return _UNSAFE.sub(_visible, _LINE_ENDS.sub("\n", text))


def clean_line(text: str) -> str:
    """Clean text of one line.

    Like ``clean_text``, with every run of white space as one space.
    """
    return _SPACE.sub(" ", clean_text(text)).strip()


def validate_text(name: str, text: str, limit: int, *, one_line: bool = False) -> str:
    """Clean ``text`` and check its length.

    Args:
        name: the name of the text, for messages.
        text: as received.
        limit: most characters allowed after cleaning.
        one_line: True if line ends become spaces.

    Raises:
        UsageError: empty or too long; nothing has been stored.
    """
    cleaned = clean_line(text) if one_line else clean_text(text)
    if not cleaned.strip():
        raise UsageError(f"the {name} is empty", f"Write a {name} of 1 to {limit:,} characters")
    if len(cleaned) > limit:
        raise UsageError(
            f"the {name} has {len(cleaned):,} characters, and the limit is {limit:,}; nothing was stored",
            "Shorten it, or split it over several posts or comments",
        )
    return cleaned


def shorten(text: str, limit: int) -> str:
    """Shorten the text to one line of ``limit`` characters with an ellipsis."""
    line = clean_line(text)
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def is_person_name(name: str) -> bool:
    """Return whether a person may write under this name."""
    return len(name) <= PERSON_NAME_LENGTH and re.fullmatch(PERSON_NAME_PATTERN, name) is not None


def parse_submission_number(text: str) -> int:
    """Return the number of a submission from ``12`` or ``s12``. Raises UsageError."""
    found = _SUBMISSION.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"submission number is not valid: got {text[:40]!r}, expected 12 or s12", "See `aar submissions`"
        )
    return int(found[1])


def parse_post_number(text: str) -> int:
    """Return the number of a post from ``12`` or ``#12``. Raises UsageError."""
    found = _POST.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"post number is not valid: got {text[:40]!r}, expected 12 or #12", "See `aar forum list`")
    return int(found[1][:19])
