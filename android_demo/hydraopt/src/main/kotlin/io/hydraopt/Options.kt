package io.hydraopt

/**
 * Sampling options. [temperature] is applied first, then [topK], then [topP].
 *
 * @property maxNewTokens maximum number of tokens to generate.
 * @property temperature divides the logits; 0 is greedy and ignores the options below.
 * @property topK number of most likely tokens to keep, and ties with the last; null keeps all.
 * @property topP keeps the most likely tokens that together have this probability.
 * @property seed random seed; equal seeds give equal texts; null for a random one.
 * @property chat whether the prompt is one user turn of the base's chat template.
 * @property stop texts that end the answer and are not a part of it.
 * @throws UsageException a value is out of range.
 */
data class Options @JvmOverloads constructor(
    val maxNewTokens: Int = 64,
    val temperature: Float = 0f,
    val topK: Int? = null,
    val topP: Float = 1f,
    val seed: Long? = null,
    val chat: Boolean = false,
    val stop: List<String> = listOf()
) {
    init {
        expect(maxNewTokens >= 1, "maxNewTokens", maxNewTokens, "at least 1")
        val warm = temperature >= 0 && temperature < Float.POSITIVE_INFINITY
        expect(warm, "temperature", temperature, "0 (greedy) or a positive number")
        expect(topK == null || topK >= 1, "topK", topK, "at least 1")
        if ("" in stop) {
            throw UsageException("a stop string is empty, which ends every text; leave it out")
        }
        expect(topP > 0 && topP <= 1, "topP", topP, "more than 0 and at most 1")
    }

    private fun expect(holds: Boolean, name: String, value: Any?, expected: String) {
        if (!holds) throw UsageException("$name is $value, expected $expected")
    }
}
