"""Size and latency of a bundle on this machine or on a device behind adb."""
