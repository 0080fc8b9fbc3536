#!/bin/sh
# As upstream: options alone are options of nats-server, anything else is a command.
set -e
case "${1:--}" in
-*) set -- nats-server "$@" ;;
esac
exec "$@"
