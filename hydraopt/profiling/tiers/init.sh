#!/bin/busybox sh
# the first process of the virtual machine: mounts, network, adbd
export PATH=/bin:/system/bin HOME=/data
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs -o size=75% tmpfs /data
mkdir -p /data/local/tmp
while read -r module; do insmod "/modules/$module"; done < /modules/order
ifconfig lo up
sleep 0.1
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
route add default gw 10.0.2.2
ADBD_PORT=5555 /opt/adbd/loader --library-path /opt/adbd /opt/adbd/adbd < /dev/null
poweroff -f
