package io.hydraopt

/**
 * How a text is generated. [temperature] comes first, then [topK], then [topP].
 *
 * @property maxNewTokens most tokens of the answer.
 * @property temperature divides the logits; 0 is greedy, whatever the fields below are.
 * @property topK so many of the likeliest tokens are kept, and what ties with the last; null: all.
 * @property topP the likeliest tokens that have this probability together are kept.
 * @property seed equal seeds give equal texts; null for another text every time.
 * @property chat whether the prompt is one user turn of the base's chat template.
 * @throws UsageException a value out of range.
 */
data class Options @JvmOverloads constructor(
    val maxNewTokens: Int = 64,
    val temperature: Float = 0f,
    val topK: Int? = null,
    val topP: Float = 1f,
    val seed: Long? = null,
    val chat: Boolean = false
) {
    init {
        expect(maxNewTokens >= 1, "maxNewTokens", maxNewTokens, "at least 1")
        val warm = temperature >= 0 && temperature < Float.POSITIVE_INFINITY
        expect(warm, "temperature", temperature, "0 (greedy) or a positive number")
        expect(topK == null || topK >= 1, "topK", topK, "at least 1")
        expect(topP > 0 && topP <= 1, "topP", topP, "more than 0 and at most 1")
    }

    private fun expect(holds: Boolean, name: String, value: Any?, expected: String) {
        if (!holds) throw UsageException("$name is $value, expected $expected")
    }
}
