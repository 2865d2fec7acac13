# The machine's one job: runs as root under systemd, from the job's directory on the host. What it prints goes to the first
# serial line, the exit status to the file `status`; then the machine is switched off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec </dev/null >/dev/null 2>&1
stty -F /dev/ttyS0 raw -echo
cd /run/job || exit

install -m 755 ps /usr/local/bin/ps

# Each line of `shares` is a tag and a directory of the host, to be seen at its own path; users may pass what leads there.
while read -r tag directory; do
  parent=$directory
  mkdir -p "$directory"
  mount-share "$tag" "$directory" "$directory"
  while parent=${parent%/*} && [ -n "$parent" ]; do chmod a+x "$parent"; done
done <shares

# A pipe: programs print otherwise when they see a terminal.
mkfifo /run/output
cat /run/output >/dev/ttyS0 &
reader=$!
# Open until the end: the reader goes with its last writer.
exec 4>/run/output

sh ./before >&4 2>&1 4>&-
if [ "$(cat user)" = root ]; then
  sh ./command >&4 2>&1 4>&-
else
  # In a cgroup of its own that its systemd delegates to it, as in a terminal of a desktop.
  loginctl enable-linger tester
  systemctl start user@1000.service
  setpriv --reuid 1000 --regid 1000 --init-groups --inh-caps=-all \
    env -i HOME=/home/tester USER=tester LOGNAME=tester LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
    XDG_RUNTIME_DIR=/run/user/1000 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus \
    systemd-run --user --scope --quiet --property=Delegate=yes sh ./command >&4 2>&1 4>&-
fi
echo $? >status
exec 4>&-

# What the command left running may hold the pipe open.
(sleep 1; kill $reader) &
wait $reader
# hostfs writes late.
sync
systemctl poweroff --force --force
