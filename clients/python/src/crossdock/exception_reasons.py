"""The words of TrackingEvent.exception_reason: why a parcel is held up, for all carriers.

The contract lets them grow; a reader takes one that it does not know as it comes. Who says what a
code means takes one of these.
"""

from __future__ import annotations

from typing import Final

EXCEPTION_REASONS: Final = frozenset(
    {
        "ACCESS_RESTRICTED",
        "ADDRESS_PROBLEM",
        "BUSINESS_CLOSED",
        "CARRIER_DELAY",
        "CUSTOMS_CLEARED",
        "CUSTOMS_HOLD",
        "CUSTOMS_INFORMATION",
        "DAMAGED",
        "HOLD_REQUESTED",
        "LOST_OR_INVESTIGATION",
        "OTHER",
        "PAYMENT_REQUIRED",
        "PICKUP_FAILED",
        "RECIPIENT_UNAVAILABLE",
        "REFUSED",
        "SECURITY_OR_REGULATORY",
        "SIGNATURE_REQUIRED",
        "WEATHER",
    }
)
