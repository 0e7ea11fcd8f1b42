package io.hydraopt

import java.io.File
import java.io.IOException

/** Whether a program fits in memory, as Android kills an app that needs more than there is. */
internal object Memory {
    /**
     * Throws [MemoryException] if a program is larger than the free memory.
     *
     * @param free bytes; null if unknown or not to be compared.
     */
    fun check(program: File, free: Long?) {
        if (free != null && program.length() > free) {
            throw MemoryException(
                "$program has ${megabytes(program.length())} MB, but only ${megabytes(free)} MB " +
                    "of memory are free; close other apps, export with --quantize 8da4w, or open " +
                    "it all the same (freeMemory = null)"
            )
        }
    }

    /** Linux's estimate of the bytes that are available without swapping. */
    fun available(): Long? =
        try {
            File("/proc/meminfo").useLines { lines ->
                lines.firstOrNull { it.startsWith("MemAvailable:") }
                    ?.filter { it in '0'..'9' }?.toLongOrNull()?.times(1024)
            }
        } catch (_: IOException) {
            null
        }

    private fun megabytes(bytes: Long) = bytes / 1_000_000
}
