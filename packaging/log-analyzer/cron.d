# For machines without systemd timers: to be put into /etc/cron.d/milter-manager-log. The log is opened by root, the
# analyzer runs as milter-manager, and reads on where it stopped.
*/5 * * * * root cd / && exec setpriv --reuid=milter-manager --regid=milter-manager --clear-groups nice milter-manager-log-analyzer --output-directory /var/lib/milter-manager/public_html/log </var/log/maillog
