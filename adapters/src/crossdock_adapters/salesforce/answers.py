"""What Salesforce's answers say of errors: lists, objects with some, and outputs of actions."""

from __future__ import annotations

from typing import Any, Final

MAX_SAID: Final = 200


def error_of(content: Any) -> tuple[str, str]:
    """(code, words) of an error: the first of a list, or of an object or an output that has some;
    "" each."""
    if output := output_of(content):
        return error_of(output)
    if isinstance(content, list):
        content = next((each for each in content if isinstance(each, dict)), {})
    if not isinstance(content, dict):
        return "", ""
    inner = content.get("errors")
    # One may stand for itself.
    listed = inner if isinstance(inner, list) else [inner]
    found = [each for each in listed if isinstance(each, dict) and each]
    # Errors that name fields alone hide no code beside them.
    if found and any(told := error_of(found)):
        return told
    code = content.get("errorCode") or content.get("statusCode") or content.get("code") or ""
    said = content.get("message") or content.get("detail") or ""
    return str(code)[:64], str(said)[:MAX_SAID]


def says_failure(content: Any) -> bool:
    """Whether the body of a success says that it is none."""
    if not isinstance(content, dict):
        return False
    return content.get("success") is False or bool(content.get("errors"))


def output_of(content: Any) -> Any:
    """What an action says of itself inside an error; None: nothing of errors."""
    for each in content if isinstance(content, list) else [content]:
        output = each.get("output") if isinstance(each, dict) else None
        if isinstance(output, dict) and output.get("errors"):
            return output
    return None
