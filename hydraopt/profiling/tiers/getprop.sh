#!/bin/sh
# Android's getprop on /system/build.prop
if [ -z "$1" ]; then
    sed 's/^\([^=]*\)=\(.*\)/[\1]: [\2]/' /system/build.prop
else
    sed -n "s/^$1=//p" /system/build.prop
fi
