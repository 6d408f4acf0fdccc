#!/bin/sh
# @name@, by the newest Python that is here, with its own modules and nothing of the caller's environment.
@elsewhere@for python in @pythons@; do
    if [ -x "$python" ]; then
        exec "$python" -I -B @app@/launch.py @launcher@ "$@"
    fi
done
echo "@name@: none of these is here, and one is needed: @pythons@" >&2
exit 69
