"""`python -m kubectl_baas`, for a checkout that is not installed."""

from kubectl_baas.cli import main

main()
