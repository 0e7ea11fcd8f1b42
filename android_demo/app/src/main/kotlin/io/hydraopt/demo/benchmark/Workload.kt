package io.hydraopt.demo.benchmark

import io.hydraopt.Model
import kotlin.math.roundToInt

/**
 * How much a round measures, as in the profiler.
 *
 * @property prompt tokens of a prefill.
 * @property tokens decoded after each.
 * @property sequences prefills.
 * @property switches among the tasks.
 */
internal data class Workload(
    val prompt: Int,
    val tokens: Int,
    val sequences: Int = 3,
    val switches: Int = 100
) {
    /** With sequences for half a second, if one takes [millis]. */
    fun calibrated(millis: Double): Workload {
        val count = minOf(SEQUENCES_MS / millis, MOST_SEQUENCES).roundToInt()
        return copy(sequences = maxOf(sequences, count))
    }

    companion object {
        private const val SEQUENCES_MS = 500
        private const val MOST_SEQUENCES = 30.0

        /** The workload that fits a context, with a prompt in one call. */
        fun fitting(model: Model.CausalLm, tokens: Int?): Workload {
            val context = model.maxLength
            val prompt = minOf(128, context / 2, model.prefillLength)
            return Workload(prompt, minOf(tokens ?: 32, context - prompt))
        }
    }
}
