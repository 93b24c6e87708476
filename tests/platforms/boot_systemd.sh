#!/usr/bin/env bash
# Boots systemd with the units of examples/systemd, in namespaces of its own: an overlay over this
# machine's files, no network but loopback, no device, nothing of it left when it ends. As root.
#
#   boot_systemd.sh FOLDER CLONE PYTHON SITE_PACKAGES
#
# FOLDER is empty, and gets the overlay; PYTHON makes the virtual environment that the units name,
# into which the packages of SITE_PACKAGES are mounted.
set -euo pipefail

if [[ ${1:-} != inside ]]; then
  exec unshare --mount --pid --fork --net --uts --ipc --cgroup --kill-child -- "$0" inside "$@"
fi
shift
folder="$1" clone="$2" python="$3" packages="$4"
installed=/opt/mcp-tool-servers

mount --make-rprivate /
ip link set lo up
mount -t tmpfs tmpfs "$folder"
mkdir "$folder"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
root="$folder/root"

# The installation, as docs/deploy.md describes it.
mkdir -p "$root$installed" "$root/etc/sysusers.d"
cp -r "$clone"/{core,services,config} "$root$installed/"
chmod -R go+rX "$root$installed"
"$python" -m venv --without-pip "$root$installed/.venv"
mount --bind "$packages" "$(echo "$root$installed"/.venv/lib/python3.*/site-packages)"
rm -rf "$root"/etc/systemd/system/*
cp -r "$clone"/examples/systemd/mcp-tool-servers* "$root/etc/systemd/system/"
cp "$clone/examples/systemd/sysusers.conf" "$root/etc/sysusers.d/mcp-tool-servers.conf"
systemd-sysusers --root="$root" mcp-tool-servers.conf
install -d -m 750 "$root/etc/mcp-tool-servers"
chroot "$root" chgrp mcp-tools /etc/mcp-tool-servers
umask 077
cp "$folder.env/"*.env "$root/etc/mcp-tool-servers/"
install -m 400 "$folder.env/servers.json" "$root/etc/mcp-tool-servers/"
chroot "$root" chown mcp-bridge /etc/mcp-tool-servers/servers.json
umask 022
# What the bridge starts.
install -D -m 644 -t "$root/usr/local/lib/mcp-test" \
  "$clone/tests/containers/stand_ins/echo.mjs" "$clone/tests/services/bridge/hostile.py"
for name in fetch filesystem github monitoring bridge; do
  mkdir -p "$root/etc/systemd/system/mcp-tool-servers.target.wants"
  ln -s /etc/systemd/system/mcp-tool-servers@.service \
    "$root/etc/systemd/system/mcp-tool-servers.target.wants/mcp-tool-servers@$name.service"
done
# What a machine starts besides, and needs devices or a network for.
for unit in dbus.{service,socket} systemd-{networkd,resolved,timesyncd,logind,udevd}.service \
  systemd-{networkd,udevd-control,udevd-kernel}.socket systemd-journal-flush.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
  mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
  mkdir "$root"/sys/fs/cgroup/{systemd,unified}
  mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
fi
cd "$root"
pivot_root . mnt
umount -l /mnt
export container=other
exec /usr/lib/systemd/systemd --system --unit=mcp-tool-servers.target --log-target=console \
  --show-status=no
