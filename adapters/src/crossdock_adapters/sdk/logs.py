"""Log lines as JSON on standard error, with the trace they belong to."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime

from opentelemetry import trace

LEVEL_VARIABLE = "CROSSDOCK_LOG_LEVEL"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, trace_id, span_id, error."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = f"{context.trace_id:032x}"
            line["span_id"] = f"{context.span_id:016x}"
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def start() -> None:
    """Log to standard error from `CROSSDOCK_LOG_LEVEL` (info unless set) upwards."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    level = os.environ.get(LEVEL_VARIABLE, "INFO").upper()
    logging.basicConfig(
        level=level if level in logging.getLevelNamesMapping() else "INFO", handlers=[handler]
    )
