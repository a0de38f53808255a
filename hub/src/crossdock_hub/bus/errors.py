"""What can go wrong on the bus, in the hub's own words; nats-py's exceptions go no further.

CrossdockError
└── BusError
    ├── BusUnavailable   no connection, or JetStream does not answer: nothing was sent
    ├── PublishUnknown   sent, and no answer: the message may or may not be stored
    ├── BusRefused       the server said no; .code is JetStream's error code
    │   ├── BusDenied    our user may not use that subject
    │   └── BusFull      what is wanted exceeds what the server, or our account, may hold
    ├── StreamGone       the stream that is to take it is not there
    └── StreamMismatch   a stream or consumer is not as it has to be, and was left alone
"""

from __future__ import annotations

from typing import Final

from crossdock.errors import CrossdockError


class BusError(CrossdockError):
    """The root of this module."""


class BusUnavailable(BusError):
    """No connection, or no answer to a question that changes nothing: ask again later."""


class PublishUnknown(BusError):
    """The message was sent and no answer came: repeat it with the same message id."""


class BusRefused(BusError):
    """The server refused. code: JetStream's err_code, 0 where it gave none."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class BusDenied(BusRefused):
    """Our user is not permitted to publish or subscribe there."""


class BusFull(BusRefused):
    """A limit of the server or of the account: a person gives more, or takes something away."""


class StreamMismatch(BusError):
    """An existing stream or consumer differs in a way that must not be corrected silently."""


class StreamGone(BusError):
    """A stream that the hub made is not there any more: it has to be made again."""


# No node of the bus has decided: another one may. What one refuses, each of them refuses.
UNANSWERED: Final = (BusUnavailable, PublishUnknown)
