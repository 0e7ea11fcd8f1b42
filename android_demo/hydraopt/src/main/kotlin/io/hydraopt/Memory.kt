package io.hydraopt

import java.io.File
import java.io.IOException

/** Checks that a program fits in memory, as Android kills an app that exceeds it. */
internal object Memory {
    /**
     * Throws [BundleException] if a program is larger than the free memory.
     *
     * @param available bytes; null if unknown.
     */
    fun check(program: File, available: Long?) {
        if (available != null && program.length() > available) {
            throw BundleException(
                "$program has ${megabytes(program.length())} MB, but only " +
                    "${megabytes(available)} MB of memory are free; close other apps or export " +
                    "with --quantize 8da4w"
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
