#!/bin/sh
# As upstream, `server` and its parts keep their data in /data unless told otherwise.
case "$1" in
master) shift; set -- master -mdir=/data "$@" ;;
volume) shift; set -- volume -dir=/data "$@" ;;
server) shift; set -- server -dir=/data "$@" ;;
esac
exec /usr/bin/weed "$@"
