"""Whole machines as trees: what the packages of EL 8, EL 9 and Debian 12 put where, and how it is set up.

The texts are written for these tests, in the form and with the values that the packages have.
"""

from __future__ import annotations

from .trees import Content, Link, enabled

VENDOR = "/usr/lib/systemd/system"
ADMIN = "/etc/systemd/system"

SPAMASS_UNIT = """
    [Unit]
    Description = Mail filter for SpamAssassin
    Before = postfix.service

    [Service]
    Type = simple
    User = sa-milt
    UMask = 0022
    Environment = SOCKET=/run/spamass-milter/spamass-milter.sock SOCKET_OPTIONS= EXTRA_FLAGS=
    EnvironmentFile = -/etc/sysconfig/spamass-milter
    EnvironmentFile = -/etc/sysconfig/spamass-milter-postfix
    ExecStart = /usr/sbin/spamass-milter $SOCKET_OPTIONS -p $SOCKET $EXTRA_FLAGS

    [Install]
    WantedBy = multi-user.target
    """
SPAMASS_POSTFIX = """
    SOCKET="/run/spamass-milter/postfix/sock"
    SOCKET_OPTIONS="-g postfix"
    """
CLAMAV_UNIT = """
    [Unit]
    Description = Milter module for the Clam Antivirus scanner
    Before = sendmail.service postfix.service

    [Service]
    Type = simple
    ExecStart = /usr/sbin/clamav-milter -c /etc/mail/clamav-milter.conf --foreground=yes
    User = clamilt
    Group = clamilt

    [Install]
    WantedBy = multi-user.target
    """
CLAMAV_AS_PACKAGED = """
    # Comment or remove the line below.
    Example
    #MilterSocket /run/clamav-milter/clamav-milter.socket
    #MilterSocketMode 660
    User clamilt
    #ClamdSocket tcp:scanner.mydomain:7357
    """
CLAMAV_EDITED = """
    #Example
    MilterSocket /run/clamav-milter/clamav-milter.socket
    MilterSocketMode 660
    User clamilt
    ClamdSocket unix:/run/clamd.scan/clamd.sock
    """
GREYLIST_UNIT = """
    [Unit]
    Description=milter-greylist
    [Service]
    Type=forking
    User=grmilter
    ExecStart=/usr/sbin/milter-greylist
    [Install]
    WantedBy=multi-user.target
    """
GREYLIST_CONF = """
    pidfile "/run/milter-greylist/milter-greylist.pid"
    socket "/run/milter-greylist/milter-greylist.sock" 660
    subnetmatch /24
    greylist 10m
    racl whitelist default
    """
OPENDKIM_UNIT = """
    [Unit]
    Description=DomainKeys Identified Mail (DKIM) Milter
    [Service]
    Type=simple
    EnvironmentFile=-/etc/sysconfig/opendkim
    ExecStart=/usr/sbin/opendkim -f $OPTIONS
    User=opendkim
    Group=opendkim
    RuntimeDirectory=opendkim
    [Install]
    WantedBy=multi-user.target
    """
OPENDMARC_UNIT = """
    [Unit]
    Description=Domain-based Message Authentication, Reporting & Conformance (DMARC) Milter
    [Service]
    Type=simple
    EnvironmentFile=-/etc/sysconfig/opendmarc
    ExecStart=/usr/sbin/opendmarc -f $OPTIONS
    User=opendmarc
    Group=opendmarc
    RuntimeDirectory=opendmarc
    [Install]
    WantedBy=multi-user.target
    """
RSPAMD_UNIT = """
    [Unit]
    Description=rapid spam filtering system
    [Service]
    ExecStart=/usr/bin/rspamd -c /etc/rspamd/rspamd.conf -f
    User=_rspamd
    RuntimeDirectory=rspamd
    [Install]
    WantedBy=multi-user.target
    """
RSPAMD_CONF = """
    worker "normal" {
        bind_socket = "localhost:11333";
    }
    worker "rspamd_proxy" {
        bind_socket = "localhost:11332";
        .include "$CONFDIR/worker-proxy.inc"
        .include(try=true; priority=1,duplicate=merge) "$LOCAL_CONFDIR/local.d/worker-proxy.inc"
        .include(try=true; priority=10) "$LOCAL_CONFDIR/override.d/worker-proxy.inc"
    }
    """


def el8(release: str = "8") -> dict[str, Content]:
    """EL with the milters of the walk-through, as that leaves them, and others of EPEL that nobody has enabled."""
    return {
        "/etc/os-release": f'NAME="CentOS Linux"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="{release}"\n',
        "/lib": Link("usr/lib"),
        "/etc/init.d": Link("rc.d/init.d"),
        "/etc/rc.d/init.d/README": "x\n",
        f"{VENDOR}/spamass-milter.service": SPAMASS_UNIT,
        f"{VENDOR}/spamass-milter-root.service": SPAMASS_UNIT.replace("User = sa-milt", "User = root"),
        "/etc/sysconfig/spamass-milter": '#SOCKET=/run/x\nEXTRA_FLAGS="-m -r 15"\n',
        "/etc/sysconfig/spamass-milter-postfix": SPAMASS_POSTFIX,
        f"{VENDOR}/clamav-milter.service": CLAMAV_UNIT,
        "/etc/mail/clamav-milter.conf": CLAMAV_EDITED,
        f"{VENDOR}/clamd@.service": "[Unit]\nDescription=clamd\n[Service]\nExecStart=/usr/sbin/clamd -c /etc/x\n",
        f"{VENDOR}/milter-greylist.service": GREYLIST_UNIT,
        "/etc/mail/greylist.conf": GREYLIST_CONF,
        f"{VENDOR}/opendkim.service": OPENDKIM_UNIT,
        "/etc/sysconfig/opendkim": 'OPTIONS="-x /etc/opendkim.conf -P /run/opendkim/opendkim.pid"\n',
        "/etc/opendkim.conf": "Syslog yes\nSocket local:/run/opendkim/opendkim.sock\n",
        f"{VENDOR}/opendmarc.service": OPENDMARC_UNIT,
        "/etc/sysconfig/opendmarc": 'OPTIONS="-c /etc/opendmarc.conf -P /run/opendmarc/opendmarc.pid"\n',
        "/etc/opendmarc.conf": "Socket local:/run/opendmarc/opendmarc.sock\nUMask 007\nUserID opendmarc:mail\n",
        f"{VENDOR}/milter-manager.service": (
            "[Unit]\nDescription=milter manager\n[Service]\nExecStart=/usr/sbin/milter-manager -s unix:/run/mm.sock\n"
        ),
        **enabled("milter-manager.service"),
        **enabled("spamass-milter.service"),
        **enabled("clamav-milter.service"),
        **enabled("clamd@scan.service", of="clamd@.service"),
        **enabled("milter-greylist.service"),
    }


def el9() -> dict[str, Content]:
    """EL 9 with the vendor's rspamd, the old socket of opendkim, and a greylist that a drop-in moved to TCP."""
    override = "[Service]\nExecStart=\nExecStart=/usr/sbin/milter-greylist -D -p inet:2525@127.0.0.1\n"
    return {
        **el8("9.4"),
        f"{ADMIN}/milter-greylist.service.d/override.conf": override,
        f"{VENDOR}/rspamd.service": RSPAMD_UNIT,
        "/etc/rspamd/rspamd.conf": RSPAMD_CONF,
        "/etc/rspamd/worker-proxy.inc": "milter = yes;\ntimeout = 120s;\n",
        "/etc/rspamd/local.d/worker-proxy.inc": 'bind_socket = "/run/rspamd/milter.sock mode=0660 owner=_rspamd";\n',
        "/etc/opendkim.conf": "Socket inet:8891@localhost\n",
        **enabled("rspamd.service"),
        **enabled("opendkim.service"),
        **enabled("opendmarc.service"),
    }


DEBIAN_SPAMASS = """
    #!/bin/sh
    ### BEGIN INIT INFO
    # Provides:          spamass-milter
    # Default-Start:     2 3 4 5
    # Default-Stop:      0 1 6
    # Short-Description: milter for spamassassin
    ### END INIT INFO
    NAME=spamass-milter
    DAEMON=/usr/sbin/spamass-milter
    SOCKET=/var/run/spamass/spamass.sock
    PIDFILE=/var/run/spamass/spamass.pid
    DEFAULT=/etc/default/spamass-milter
    RUNAS="spamass-milter"
    SOCKETMODE="0600"
    SOCKETOWNER="root:root"
    test -x $DAEMON || exit 0
    if [ -x /usr/sbin/postfix ]; then
        SOCKET="/var/spool/postfix/spamass/spamass.sock"
        SOCKETOWNER="postfix:postfix"
        SOCKETMODE="0660"
    fi;
    if [ -r $DEFAULT ]; then
        . $DEFAULT;
    fi;
    start() {
        SOCKET=/never
        start-stop-daemon --start -p $PIDFILE --exec $DAEMON -- -P $PIDFILE -f -p $SOCKET $OPTIONS
    }
    case "$1" in
      start) start ;;
    esac
    """
DEBIAN_CLAMAV = """
    #!/bin/sh
    ### BEGIN INIT INFO
    # Provides:          clamav-milter
    # Default-Start:     2 3 4 5
    # Short-Description: ClamAV virus milter
    ### END INIT INFO
    DAEMON=/usr/sbin/clamav-milter
    CLAMAVCONF=/etc/clamav/clamav-milter.conf
    . /lib/lsb/init-functions
    """


def debian12() -> dict[str, Content]:
    """Debian 12: two milters with scripts alone, others with units and scripts, one of these disabled."""
    return {
        "/etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
        "/lib": Link("usr/lib"),
        "/usr/sbin/postfix": "x",
        "/etc/init.d/spamass-milter": DEBIAN_SPAMASS,
        "/etc/default/spamass-milter": 'OPTIONS="-u spamass-milter -i 127.0.0.1"\n',
        "/etc/rc3.d/S01spamass-milter": Link("../init.d/spamass-milter"),
        "/etc/init.d/clamav-milter": DEBIAN_CLAMAV,
        "/etc/clamav/clamav-milter.conf": "MilterSocket /var/run/clamav/clamav-milter.ctl\nUser clamav\n",
        "/etc/rc3.d/S01clamav-milter": Link("../init.d/clamav-milter"),
        f"{VENDOR}/opendkim.service": "[Unit]\nDescription=OpenDKIM Milter\n[Service]\nExecStart=/usr/sbin/opendkim\n",
        "/etc/opendkim.conf": "Syslog yes\nUserID opendkim\nUMask 007\nSocket local:/run/opendkim/opendkim.sock\n",
        "/etc/default/opendkim": "RUNDIR=/run/opendkim\nSOCKET=local:$RUNDIR/other.sock\n",
        "/etc/init.d/opendkim": "#!/bin/sh\n. /etc/default/opendkim\n",
        "/etc/rc3.d/S01opendkim": Link("../init.d/opendkim"),
        f"{VENDOR}/rspamd.service": RSPAMD_UNIT,
        "/etc/init.d/rspamd": "#!/bin/sh\n",
        "/etc/rc3.d/S01rspamd": Link("../init.d/rspamd"),
        "/etc/rspamd/rspamd.conf": RSPAMD_CONF,
        "/etc/rspamd/worker-proxy.inc": "milter = yes;\n",
        **enabled("opendkim.service"),
    }
