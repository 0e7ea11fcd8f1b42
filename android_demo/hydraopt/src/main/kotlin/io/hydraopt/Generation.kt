package io.hydraopt

/** Why a generation ended. */
enum class End {
    /** The model said so: an end or stop token. */
    END_TOKEN,

    /** [Options.maxNewTokens] came. */
    MAX_NEW_TOKENS,

    /** The context is full. */
    CONTEXT,

    /** [TaskSession.cancel] was called. */
    CANCELLED
}

/**
 * An answer and how it came.
 *
 * @property text all pieces together.
 * @property ids the answer's tokens, without the end token.
 * @property promptTokens tokens of the prompt.
 * @property end why it ended.
 * @property prefillNanos from the call to the first token's logits: the prompt's forward passes.
 * @property decodeNanos of all further forward passes.
 * @property decodeSteps how many these were.
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
    /** Tokens of the prompt per second; 0 if it was cancelled before its end. */
    val prefillTokensPerSecond: Double get() = rate(promptTokens, prefillNanos)

    /** Tokens per second after the first; 0 if there was none. */
    val decodeTokensPerSecond: Double get() = rate(decodeSteps, decodeNanos)

    private fun rate(count: Int, nanos: Long) = if (nanos > 0) count * 1e9 / nanos else 0.0
}

/**
 * How long a switch took.
 *
 * @property mapNanos checking the mapped pack against its hash, which reads it.
 * @property unpackNanos unpacking it into factors; loading a method where each task has its own.
 */
class SwitchTimes internal constructor(val mapNanos: Long, val unpackNanos: Long) {
    /** Both together, in milliseconds. */
    val millis: Double get() = (mapNanos + unpackNanos) / 1e6
}
