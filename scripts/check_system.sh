#!/bin/sh
# Name everything that the build needs and this system lacks, each with its Debian package, before anything is built.
# Usage: sh scripts/check_system.sh [PYTHON]
set -u
python=${1:-python3}
cc=${CC:-gcc}
packages=""

lacks() { # lacks PACKAGE "what is missing"
    printf 'missing: %s (Debian package %s)\n' "$2" "$1" >&2
    case " $packages " in
        *" $1 "*) ;;
        *) packages="$packages $1" ;;
    esac
}

if ! command -v "$python" >/dev/null 2>&1; then
    lacks python3 "$python, Python 3.11 or newer"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    lacks python3 "Python 3.11 or newer ($python is $("$python" -c 'import platform; print(platform.python_version())'))"
else
    "$python" -c 'import venv, ensurepip' 2>/dev/null || lacks python3-venv "the modules venv and ensurepip"
    headers=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
    [ -f "$headers/Python.h" ] || lacks python3-dev "Python.h in $headers"
fi

if ! command -v "${cc%% *}" >/dev/null 2>&1; then
    lacks gcc "the C compiler $cc"
    [ -f /usr/include/stdio.h ] || [ "$(uname)" != Linux ] || lacks libc6-dev "the C library's headers"
elif ! printf '#include <stdio.h>\n' | $cc -E -x c - >/dev/null 2>&1; then
    lacks libc6-dev "the C library's headers (stdio.h)"
fi

command -v make >/dev/null 2>&1 || lacks make "make"

# The build does without it.
command -v dot >/dev/null 2>&1 ||
    printf 'optional: dot draws the pictures of visualize_graphviz (Debian package graphviz)\n' >&2

if [ -n "$packages" ]; then
    printf 'Install them with:  apt-get install%s\n' "$packages" >&2
    exit 1
fi
