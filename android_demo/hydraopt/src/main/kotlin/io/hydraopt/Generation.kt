package io.hydraopt

/** Why a generation ended. */
enum class End {
    /** The model generated an end token. */
    END_TOKEN,

    /** [Options.maxNewTokens] is reached. */
    MAX_NEW_TOKENS,

    /** The context is full. */
    CONTEXT,

    /** One of [Options.stop] came. */
    STOP,

    /** Its [Cancellation] was cancelled. */
    CANCELLED
}

/**
 * An answer with its timings.
 *
 * @property text the whole answer; empty of [TaskSession.generateIds].
 * @property ids the answer's tokens, without the end token.
 * @property promptTokens tokens of the prompt that were not in the KV cache yet.
 * @property end why the generation ended.
 * @property prefillNanos time of the prompt's forward passes.
 * @property decodeNanos time from the first token's delivery to the last one's: forward passes,
 *   sampling and the caller's own function.
 * @property decodeSteps number of tokens after the first.
 */
class Generation internal constructor(
    val text: String,
    val ids: List<Int>,
    val promptTokens: Int,
    val end: End,
    val prefillNanos: Long,
    val decodeNanos: Long,
    val decodeSteps: Int
) {
    /** Prompt tokens per second; 0 if the prefill was cancelled. */
    val prefillTokensPerSecond: Double get() = rate(promptTokens, prefillNanos)

    /** Tokens per second, as delivered, after the first; 0 if there was none. */
    val decodeTokensPerSecond: Double get() = rate(decodeSteps, decodeNanos)

    private fun rate(count: Int, nanos: Long) = if (nanos > 0) count * 1e9 / nanos else 0.0
}

/**
 * The times of a switch.
 *
 * @property mapNanos reading the mapped pack and checking its hash.
 * @property unpackNanos unpacking it into factors, or loading the task's own method.
 */
class SwitchTimes internal constructor(val mapNanos: Long, val unpackNanos: Long) {
    /** The sum, in milliseconds. */
    val millis: Double get() = (mapNanos + unpackNanos) / 1e6
}
