"""`python -m tests.standins.auth`."""

from __future__ import annotations

from tests.standins.auth.api import application
from tests.standins.auth.settings import Settings
from tests.standins.service import serve

if __name__ == "__main__":
    settings = Settings.of_environment()
    serve(application(settings), settings.host, settings.port)
