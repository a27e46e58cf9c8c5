#!/bin/bash
# systemd as the first process of namespaces of its own, with our unit alone, as it is installed:
# begin.sh UNIT SOURCE PYTHON_HOME SITE_PACKAGES. Nothing of it is seen outside; all ends with it.
# Called by `unshare --pid --fork --mount --cgroup --ipc --uts --mount-proc --propagation private`.
set -e
unit=$1 source=$2 python_home=$3 site=$4
copy=$(mktemp -d)
mount -t tmpfs tmpfs "$copy"
cp -a /etc "$copy/etc"
mount --bind "$copy/etc" /etc
mkdir -p /opt
for folder in /run /opt /var/lib /var/cache; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done

# What docs/REMOTE.md says; the Python of this run stands for that of /opt/brushcast/.venv.
for group in video render; do getent group "$group" > /dev/null || groupadd --system "$group"; done
useradd --system --home-dir /var/lib/brushcast --shell /usr/sbin/nologin brushcast
mkdir -p /opt/brushcast/.venv/bin /opt/source /opt/python /opt/site
mount --bind "$source" /opt/source
mount --bind "$python_home" /opt/python
mount --bind "$site" /opt/site
cat > /opt/brushcast/.venv/bin/brushcast-worker << 'END'
#!/bin/sh
exec /opt/python/bin/python3 -m brushcast_worker "$@"
END
chmod 755 /opt/brushcast/.venv/bin/brushcast-worker

units=/run/systemd/system
mkdir -p "$units/$(basename "$unit").d"
cp "$unit" "$units/"
ln -s /dev/null "$units/network-online.target" # the network is there
cat > "$units/$(basename "$unit").d/here.conf" << 'END'
[Unit]
DefaultDependencies=no
[Service]
Environment=PYTHONPATH=/opt/source/plugin:/opt/source/worker:/opt/site LD_LIBRARY_PATH=/opt/python/lib
Environment=BRUSHCAST_BIND=tcp://127.0.0.1:0
StandardOutput=append:/run/worker.out
StandardError=append:/run/worker.err
WatchdogSec=6
END
printf '[Unit]\nDefaultDependencies=no\n' > "$units/nothing.target"
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=nothing.target --log-target=console --show-status=no
