"""What administrators are told through Jupyter's event system: which run, never what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_events import EventLogger

SCHEMA_ID = "https://events.jupyter.org/jupyter_gpupredict/run/v1"
SCHEMA = {
    "$id": SCHEMA_ID,
    "version": "1",
    "title": "A measured run",
    "personal-data": True,
    "description": "A run was first seen live, was asked to stop, or was exported.",
    "type": "object",
    "properties": {
        "action": {
            "type": "string",
            "enum": ["start", "stop", "export"],
            "description": "What happened.",
        },
        "session_id": {"type": "string", "description": "The run's id: start, host, process."},
    },
    "required": ["action", "session_id"],
    "additionalProperties": False,
}


def register(logger: EventLogger) -> None:
    """Make the schema known; once a server."""
    if SCHEMA_ID not in logger.schemas:
        logger.register_event_schema(SCHEMA)


def emit(logger: EventLogger, action: str, session_id: str) -> None:
    """Tell that something happened to a run."""
    logger.emit(schema_id=SCHEMA_ID, data={"action": action, "session_id": session_id})
