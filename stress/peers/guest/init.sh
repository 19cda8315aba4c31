#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# The first process of the guest: brings up a Linux NFS server and client with fixed ports (lockd 4045, callback 4046,
# statd 4047, mountd 4048, nfsd 2049, rpcbind 111) at 10.99.0.2, exports /export, and then does what the agent at
# port 2222 is told. The console shows GUEST READY when all that is up.
bb=/bin/busybox
$bb mkdir -p /proc /sys /dev /run /tmp /var/lib /export /mnt
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
for dir in /run /tmp /var/lib /export; do $bb mount -t tmpfs tmp $dir; done
$bb --install -s /bin
export PATH=/sbin:/usr/sbin:/bin:/usr/bin

load() { modprobe "$@" || echo "GUEST: no module $1"; }
load virtio_pci
load virtio_net
ip link set lo up
ip link set eth0 up
ip addr add 10.99.0.2/24 dev eth0
echo guest > /proc/sys/kernel/hostname
load sunrpc
load lockd nlm_tcpport=4045 nlm_udpport=4045 nlm_grace_period=1
load nfs callback_tcpport=4046
load nfsv3
load nfsv4
load nfsd

mkdir -p /var/lib/nfs/sm /var/lib/nfs/sm.bak /var/lib/nfs/rpc_pipefs /var/lib/nfs/v4recovery /run/rpcbind
touch /var/lib/nfs/etab /var/lib/nfs/rmtab /var/lib/nfs/state
chown -R 104 /var/lib/nfs/sm /var/lib/nfs/sm.bak /var/lib/nfs/state /var/lib/nfs
mount -t rpc_pipefs rpc_pipefs /var/lib/nfs/rpc_pipefs
rpcbind -w -i
rpc.statd --no-notify -p 4047
for f in hello f0 f1 f2 f3; do echo "$f" > /export/$f; done
chmod 1777 /export
chmod 666 /export/*
mount -t nfsd nfsd /proc/fs/nfsd
echo 10 > /proc/fs/nfsd/nfsv4gracetime
echo 10 > /proc/fs/nfsd/nfsv4leasetime
exportfs -ra
rpc.mountd -p 4048
rpc.nfsd --no-udp 2
echo Y > /proc/fs/nfsd/v4_end_grace
agent serve 10.99.0.2:2222 &
echo "GUEST READY $(uname -r)"
while :; do sleep 3600; done
