package io.hydraopt.demo

import java.io.File
import java.io.IOException

/** Memory of the process, from the kernel. */
object ProcessMemory {
    private val MAPS = listOf("/proc/self/smaps_rollup", "/proc/self/smaps") // older kernels: sums

    /** PSS in bytes, which counts shared pages proportionally; 0 if unknown. */
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
