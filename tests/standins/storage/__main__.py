"""`python -m tests.standins.storage`."""

from __future__ import annotations

from tests.standins.service import serve
from tests.standins.storage.api import application
from tests.standins.storage.settings import Settings

if __name__ == "__main__":
    settings = Settings.of_environment()
    serve(application(settings), settings.host, settings.port)
