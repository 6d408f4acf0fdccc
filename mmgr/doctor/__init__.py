"""What ``milter-managerctl doctor`` looks at: sockets, rights, peers, SELinux and Postfix. It changes nothing."""
