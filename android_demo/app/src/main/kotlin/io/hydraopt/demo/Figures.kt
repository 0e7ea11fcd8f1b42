package io.hydraopt.demo

import io.hydraopt.Generation
import io.hydraopt.SwitchTimes

/**
 * What was measured since the bundle was opened; null is what has not been yet.
 *
 * @property switches milliseconds, the last one at the end.
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
    /** With one switch more. */
    fun after(times: SwitchTimes): Figures =
        copy(switches = switches.takeLast(KEPT - 1) + times.millis)

    /**
     * With what an answer told.
     *
     * @param first whether it was the first one after a switch.
     */
    fun after(answer: Generation, first: Boolean, memory: Long): Figures = copy(
        firstToken = if (first) answer.prefillNanos.takeIf { it > 0 }?.div(1e6) else firstToken,
        prefill = answer.prefillTokensPerSecond.takeIf { it > 0 } ?: prefill,
        decode = answer.decodeTokensPerSecond.takeIf { it > 0 } ?: decode,
        memoryNow = memory
    )

    /** The percentile of all switches, interpolated as the profiler does; null without any. */
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
