#!/bin/sh
# @name@, from the virtual environment @env@, with nothing of the caller's environment.
@elsewhere@if [ -x @env@/bin/python ]; then
    exec @env@/bin/python -I -B @env@/bin/@name@ "$@"
fi
echo "@name@: there is no Python in @env@: make that virtual environment and install milter-manager there" >&2
exit 69
