#!/bin/sh
# As upstream: options or a configuration file alone are arguments of valkey-server; root is left for valkey.
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
    set -- valkey-server "$@"
fi
if [ "$1" = valkey-server ] && [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid valkey --regid valkey --clear-groups "$@"
fi
exec "$@"
