"""The log as JSON Lines, for programs that collect logs: one object a line."""

from __future__ import annotations

import logging
import platform
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

FIELDS = ("time", "level", "logger", "message", "job", "host", "process")
"""What each line has, in this order, the time as ISO 8601 in UTC; an error has `exc_info` too."""


class JobFormatter(JsonFormatter):
    """Makes a line of JSON of each record. `job`: the job's id, empty until it is known."""

    def __init__(self) -> None:
        super().__init__("%(message)s", json_ensure_ascii=False)
        self.job = ""
        self._host = platform.node()

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Add the fields that every line has."""
        super().add_fields(log_data, record, message_dict)
        time = datetime.fromtimestamp(record.created, UTC)
        log_data |= {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "job": self.job,
            "host": self._host,
            "process": record.process,
        }
        if record.exc_text:
            # The traceback as the filter of the handler left it, without secrets.
            log_data["exc_info"] = record.exc_text

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Put the fields in order, and those that only some lines have behind them."""
        return {name: log_data[name] for name in (*FIELDS, *log_data) if name in log_data}
