#!/bin/sh
# One line per missing prerequisite, each naming its Debian package.
python=$1
failed=0

missing() {
    echo "missing: $1. Install it: $2" >&2
    failed=1
}

if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    missing "python 3.11" "apt-get install python3.11 (or: make PYTHON=/path/to/python3.11)"
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    missing "python's venv module" "apt-get install python3.11-venv"
fi
if ! command -v node >/dev/null; then
    missing "node" "apt-get install nodejs (version 18 or newer)"
elif ! node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)'; then
    missing "node 18 or newer (found $(node --version))" "apt-get install nodejs"
fi
command -v npm >/dev/null || missing "npm" "apt-get install npm"
exit $failed
