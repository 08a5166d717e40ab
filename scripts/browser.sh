#!/bin/sh
# The browser that the live page is tested in. Installed where that takes no question: as root, with apt.
if command -v chromium >/dev/null; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -qy --no-install-recommends chromium fonts-inter; } >&2 && exit 0
fi
echo "missing: chromium, for the tests of the live page. Install it: apt-get install chromium fonts-inter" >&2
exit 1
