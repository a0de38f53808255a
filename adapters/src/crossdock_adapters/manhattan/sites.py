"""Which facility is which location, and in which time zone it writes its times."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from crossdock.client import HubClient, request_id
from crossdock.errors import NotFoundError
from crossdock.location.v1 import location_pb2, location_service_pb2

from crossdock_adapters.manhattan.names import Names
from crossdock_adapters.sdk.local_times import known_zone
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.settings import SettingsError

log = logging.getLogger(__name__)


class Sites:
    """The facilities of one endpoint. `zones` is empty until the warehouse was asked."""

    def __init__(self, facilities: Mapping[str, str]) -> None:
        """`facilities`: location number to facility id. SettingsError unless one to one."""
        if not facilities:
            raise SettingsError("facilities must name at least one location and its facility")
        if len(set(facilities.values())) != len(facilities):
            raise SettingsError("facilities: two locations share one facility")
        self._facilities = dict(facilities)
        self.zones: dict[str, str | None] = {}
        # Locations whose zone the hub could not take yet, with their facility.
        self.untold: dict[str, str] = {}

    @property
    def any_facility(self) -> str:
        """Some facility of ours, for calls that need one in a header and mean none."""
        return next(iter(self._facilities.values()))

    def facility(self, location_number: str) -> str:
        """The facility of a location. Untranslatable when settings name none."""
        found = self._facilities.get(location_number)
        if found is None:
            raise Untranslatable(f"location {location_number!r} has no facility in `facilities`")
        return found

    def locations(self) -> dict[str, str]:
        """Facility id by location number."""
        return dict(self._facilities)

    def learn(self, records: list[dict[str, Any]], names: Names) -> None:
        """Take the time zones from the warehouse's own facility records."""
        zones: dict[str, str | None] = dict.fromkeys(self._facilities.values())
        for record in records:
            facility = names.get(record, "facility.id")
            if facility not in zones:
                continue
            given = names.get(record, "facility.time_zone")
            zones[facility] = known_zone(str(given) if given else None)
            if zones[facility] is None and self.zones.get(facility, "") is not None:
                log.warning("facility %s has no usable time zone (%r)", facility, given)
        self.zones = zones


async def report_zone(
    hub: HubClient, endpoint: str, location_number: str, facility: str, zone: str
) -> bool:
    """Write a location's time zone where it differs; False while the hub has no such location.

    The location is the ERP's; until its master data arrives there is nothing to write to.
    """
    try:
        answer = await hub.locations.GetLocation(
            location_service_pb2.GetLocationRequest(number=location_number)
        )
    except NotFoundError:
        return False
    known = answer.location
    if known.time_zone == zone:
        return True
    # The revision is part of the id: a zone set back to an earlier value is a new write.
    entry = location_service_pb2.LocationEntry(
        request_id=request_id(endpoint, f"facility:{facility}", f"{known.revision}:{zone}"),
        location=location_pb2.Location(number=location_number, time_zone=zone),
        expected_revision=known.revision,
    )
    entry.update_mask.paths.append("time_zone")
    entry.references.add(system=endpoint, type="facility", value=facility)
    result = await hub.locations.UpsertLocations(
        location_service_pb2.UpsertLocationsRequest(entries=[entry])
    )
    refused = [each.refusal for each in result.results if each.HasField("refusal")]
    for refusal in refused:
        log.warning("time zone of %s not written: %s", location_number, refusal.message)
    return not refused
