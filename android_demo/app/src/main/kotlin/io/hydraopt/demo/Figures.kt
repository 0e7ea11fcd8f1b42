package io.hydraopt.demo

import io.hydraopt.Generation
import io.hydraopt.SwitchTimes

/**
 * Measurements since the bundle was opened; null if not yet measured.
 *
 * @property switches milliseconds of every switch, in order.
 * @property firstToken milliseconds to the first token of the last answer after a switch.
 * @property prefill tokens per second of the last prompt.
 * @property decode tokens per second of the last answer, after its first token.
 * @property memoryBefore the process's bytes before the bundle was opened.
 * @property memoryNow the process's bytes after the last answer.
 */
data class Figures(
    val switches: List<Double> = listOf(),
    val firstToken: Double? = null,
    val prefill: Double? = null,
    val decode: Double? = null,
    val memoryBefore: Long? = null,
    val memoryNow: Long? = null
) {
    /** Adds a switch. */
    fun after(times: SwitchTimes): Figures =
        copy(switches = switches.takeLast(KEPT - 1) + times.millis)

    /**
     * Adds an answer's measurements.
     *
     * @param first whether it is the first answer after a switch.
     */
    fun after(answer: Generation, first: Boolean, memory: Long): Figures = copy(
        firstToken = if (first) answer.prefillNanos.takeIf { it > 0 }?.div(1e6) else firstToken,
        prefill = answer.prefillTokensPerSecond.takeIf { it > 0 } ?: prefill,
        decode = answer.decodeTokensPerSecond.takeIf { it > 0 } ?: decode,
        memoryNow = memory
    )

    /** A percentile of all switches, interpolated as in the profiler; null without switches. */
    fun switchPercentile(percent: Int): Double? {
        if (switches.isEmpty()) return null
        val sorted = switches.sorted()
        val place = percent / 100.0 * (sorted.size - 1)
        val low = sorted[place.toInt()]
        val high = sorted[minOf(place.toInt() + 1, sorted.size - 1)]
        return low + (place - place.toInt()) * (high - low)
    }

    private companion object {
        const val KEPT = 1000
    }
}
