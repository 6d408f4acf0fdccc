"""clamav-milter with a real clamd: a virus is refused with the milter's own text, other mail is marked."""

from __future__ import annotations

import base64

import pytest

from tests.support.lab import Lab
from tests.support.milters import EICAR
from tests.support.smtp import new_mail, send

pytestmark = pytest.mark.interop

INFECTED = "550 5.7.1 Infected with Local.Eicar-Test.UNOFFICIAL"


def test_a_virus_is_refused_with_its_name(lab: Lab, via: str) -> None:
    assert send(lab.port(via, "clamav"), new_mail(body=EICAR + b"\r\n")).end == INFECTED


def test_a_virus_in_an_attachment_is_refused(lab: Lab, via: str) -> None:
    headers = [b"MIME-Version: 1.0", b'Content-Type: multipart/mixed; boundary="b"']
    attachment = b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    attachment += base64.b64encode(EICAR)
    body = b"--b\r\n\r\nSee the attachment.\r\n--b\r\n" + attachment + b"\r\n--b--\r\n"
    assert send(lab.port(via, "clamav"), new_mail(headers=headers, body=body)).end == INFECTED


def test_clean_mail_arrives_marked(lab: Lab, via: str) -> None:
    (delivery,) = lab.deliver(lab.port(via, "clamav"), new_mail())
    assert delivery.values("X-Virus-Status") == [b"Clean"]
    assert len(delivery.values("X-Virus-Scanned")) == 1


def test_forged_virus_headers_are_replaced(lab: Lab, via: str) -> None:
    forged = [b"X-Virus-Status: forged", b"X-Virus-Status: forged again"]
    (delivery,) = lab.deliver(lab.port(via, "clamav"), new_mail(headers=forged))
    assert delivery.values("X-Virus-Status") == [b"Clean"]
