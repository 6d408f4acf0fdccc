from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmgr.detect.specs import our_spec, written_path
from mmgr.endpoint import parse_endpoint
from mmgr.errors import EndpointError

SPECS = (
    ("/run/x.sock", "unix:/run/x.sock"),
    ("local:/run/x.sock", "unix:/run/x.sock"),
    ("unix:/run/x.sock", "unix:/run/x.sock"),
    ("unix:local:/run/x.sock", "unix:/run/x.sock"),
    ("local:unix:local:/x", "unix:/x"),
    ("unix:inet:8891@localhost", "inet:8891@localhost"),
    ("LOCAL:/x", "unix:/x"),
    ("  local: /x ", "unix:/x"),
    ('"inet:7357@127.0.0.1"', "inet:7357@127.0.0.1"),
    ("/var/run/clamav/clamav-milter.ctl", "unix:/run/clamav/clamav-milter.ctl"),
    ("//var/run//a/./b", "unix:/run/a/b"),
    ("/var/runner/x", "unix:/var/runner/x"),
    ("/srv/my milter/x y", "unix:/srv/my milter/x y"),
    ("inet:8891@localhost", "inet:8891@localhost"),
    ("inet:8891@[127.0.0.1]", "inet:8891@127.0.0.1"),
    ("inet:8891", "inet:8891@localhost"),
    ("inet6:8891", "inet6:8891@[::1]"),
    ("inet:8891@0.0.0.0", "inet:8891@localhost"),
    ("inet6:8891@[::]", "inet6:8891@[::1]"),
    ("inet6:8891@[2001:db8::7]", "inet6:8891@[2001:db8::7]"),
    ("inet:8891@[2001:db8::7]", "inet6:8891@[2001:db8::7]"),
    ("8891@localhost", "inet:8891@localhost"),
    ("11332@*", "inet:11332@localhost"),
    ("localhost:11332", "inet:11332@localhost"),
    ("*:11332", "inet:11332@localhost"),
    ("*v6:11332", "inet6:11332@[::1]"),
    ("127.0.0.1:11332", "inet:11332@127.0.0.1"),
    ("[::]:11332", "inet6:11332@[::1]"),
    ("[::1]:11332", "inet6:11332@[::1]"),
    ("[fe80::1%eth0]:11332", "inet6:11332@[fe80::1%eth0]"),
    ("mail.example.net:10025", "inet:10025@mail.example.net"),
)

NONSENSE = (
    *("", " ", "unix:", "local:x.sock", "x.sock", "/a\nb", "inet:", "inet:@localhost", "inet:milter@localhost"),
    *("inet:0@localhost", "inet:65536@localhost", "localhost", "11332", "localhost:", "systemd:0", "inet:8@a b"),
    *("/" + "x" * 200, "inet:1@[::1", "http://localhost:11332/", "\udcff:1"),
)


@pytest.mark.parametrize(("text", "spec"), SPECS)
def test_a_milters_notation_becomes_ours(text: str, spec: str) -> None:
    assert our_spec(text) == spec


@pytest.mark.parametrize("text", NONSENSE)
def test_what_is_no_socket_is_refused(text: str) -> None:
    with pytest.raises(EndpointError):
        our_spec(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [("unix:local:/var/run/x", "/var/run/x"), ("/x", "/x"), ("inet:1@x", ""), ("inet:/x", ""), ("x", "")],
)
def test_the_path_can_be_had_as_it_is_written(text: str, path: str) -> None:
    assert written_path(text) == path


@given(st.one_of(st.text(max_size=60), st.text("unixlocaleinet6:@[]*/.-0123456789\"'", max_size=40)))
@example("inet6:1@%")
@example("[:1")
def test_whatever_is_understood_is_in_our_syntax(text: str) -> None:
    try:
        spec = our_spec(text)
    except EndpointError:
        return
    assert str(parse_endpoint(spec)) == spec


@given(st.text("unixlocaleinet6:@[]*/.-0123456789\"'", max_size=40))
def test_our_own_syntax_stays_as_it_is(text: str) -> None:
    try:
        spec = our_spec(text)
    except EndpointError:
        return
    assert our_spec(spec) == spec
