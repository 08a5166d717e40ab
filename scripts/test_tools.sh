#!/bin/sh
# What the tests need of Debian: a browser for the live page, a pooler before PostgreSQL.
# Installed where that takes no question: as root, with apt.
packages=""
lacks() { packages="$packages $*"; }
command -v chromium >/dev/null || lacks chromium fonts-inter
PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null || lacks pgbouncer
[ -z "$packages" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 - several names
    { apt-get update -q && apt-get install -qy --no-install-recommends $packages; } >&2 && exit 0
fi
echo "missing, for the tests:$packages. Install it: apt-get install$packages" >&2
exit 1
