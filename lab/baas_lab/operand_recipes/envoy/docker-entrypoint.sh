#!/bin/sh
# As upstream: options alone are options of envoy; root is left for ENVOY_UID:ENVOY_GID (101 by default) where it can be.
set -e
case "${1:--}" in
-*) set -- envoy "$@" ;;
esac
if [ "$1" = envoy ] && [ "$(id -u)" = 0 ] && [ "${ENVOY_UID:-101}" != 0 ]; then
    exec setpriv --reuid "${ENVOY_UID:-101}" --regid "${ENVOY_GID:-101}" --clear-groups "$@"
fi
exec "$@"
