"""How the simulated org answers: refusals as lists of errors, parts of composite calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from crossdock_adapters.salesforce.sandbox_records import Refusal
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.sandbox import VendorError


class Refusing:
    """Turns a refusal of the books into Salesforce's answer."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Refusal):
            raise refused_by(error) from None


class RefusingAction(Refusing):
    """The same of a Connect action: an error with its output, which has the code."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Refusal):
            said = {"errorCode": error.code, "message": error.message}
            output = {"success": False, "errors": [said]}
            outer = {"message": error.message, "enhancedErrorType": None, "output": output}
            raise VendorError(error.status, [outer]) from None


def refused_by(refusal: Refusal) -> VendorError:
    """A refusal as the frame raises it."""
    return VendorError(refusal.status, refusal.as_json())


def part_result(part: Mapping[str, Any], status: int, content: Any) -> dict[str, Any]:
    """One entry of a composite answer."""
    return {
        "body": content,
        "httpHeaders": {},
        "httpStatusCode": status,
        "referenceId": str(part.get("referenceId", "")),
    }


def halted(result: dict[str, Any]) -> dict[str, Any]:
    """A part as it is told where another part failed."""
    if result["httpStatusCode"] >= 300:
        return result
    refusal = Refusal(400, "PROCESSING_HALTED", "The transaction was rolled back")
    return {**result, "httpStatusCode": 400, "body": refusal.as_json()}


def together(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of a collection that is all or none: where one failed, the others are told as
    rolled back."""
    if all(each["success"] for each in results):
        return results
    text = "Record rolled back because not all records were valid and the request was using"
    code = "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    error = {"statusCode": code, "message": f"{text} AllOrNone header", "fields": []}
    rolled_back = {"success": False, "errors": [error]}
    return [rolled_back if each["success"] else each for each in results]


async def object_of(request: Request) -> dict[str, Any]:
    """The body of a request, which has to be an object."""
    try:
        body = vendor_json.loads(await request.body() or b"{}")
    except ValueError:
        raise refused_by(Refusal(400, "JSON_PARSER_ERROR", "the body is not JSON")) from None
    if not isinstance(body, dict):
        raise refused_by(Refusal(400, "JSON_PARSER_ERROR", "the body is not an object"))
    return {str(name): value for name, value in body.items()}
