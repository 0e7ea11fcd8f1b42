package io.hydraopt.demo

import java.io.File
import java.io.IOException

/** What the process takes, as the kernel tells it. */
object ProcessMemory {
    private val MAPS = listOf("/proc/self/smaps_rollup", "/proc/self/smaps") // older kernels: sums

    /** PSS in bytes: pages that several processes share count in parts; 0 if nothing tells it. */
    fun pss(): Long {
        for (path in MAPS) {
            try {
                return File(path).useLines { lines -> 1024 * lines.sumOf(::kilobytes) }
            } catch (_: IOException) {
                continue
            }
        }
        return 0
    }

    private fun kilobytes(line: String): Long =
        if (line.startsWith("Pss:")) line.filter { it in '0'..'9' }.toLong() else 0
}
