package io.hydraopt.demo

import io.hydraopt.Generation
import io.hydraopt.SwitchTimes
import io.hydraopt.demo.benchmark.percentile

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

    /** Whether the 5th and 95th percentiles are other switches than the fastest and the slowest. */
    val hasPercentiles: Boolean get() = switches.size > FEW

    /** The median of all switches; null without switches. */
    val switchMedian: Double? get() = switchAt(0.5)

    /** The 5th percentile, or the fastest of a few. */
    val switchLow: Double? get() = switchAt(if (hasPercentiles) 0.05 else 0.0)

    /** The 95th percentile, or the slowest of a few. */
    val switchHigh: Double? get() = switchAt(if (hasPercentiles) 0.95 else 1.0)

    private fun switchAt(share: Double) =
        if (switches.isEmpty()) null else percentile(switches, share)

    private companion object {
        const val KEPT = 1000
        const val FEW = 20 // of one more the 5th percentile is the second fastest
    }
}
