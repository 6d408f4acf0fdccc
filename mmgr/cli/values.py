"""Values of command line options that the test tools share. Each function is an argparse type: text in, value out."""

from __future__ import annotations

import argparse
import math
import os

from mmgr.endpoint import Endpoint, parse_endpoint
from mmgr.errors import EndpointError


def endpoint(text: str) -> Endpoint:
    """A connection spec; a bare absolute path is a unix socket."""
    try:
        return parse_endpoint(f"unix:{text}" if text.startswith("/") else text)
    except EndpointError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def seconds(text: str) -> float:
    """A positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def count(text: str, least: int = 0, most: int = 1000) -> int:
    """A whole number between least and most."""
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between {least} and {most}")
    return int(text)


def name_and_value(text: str) -> tuple[bytes, bytes]:
    """NAME:VALUE; the value with all that stands behind the colon."""
    name, colon, value = os.fsencode(text).partition(b":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} should be NAME:VALUE")
    return name, value
