package io.hydraopt

/**
 * What a chat template writes between the turns of a conversation.
 *
 * @property system texts before and after a system prompt, up to the first message; null if the
 *   template takes none.
 * @property answer between a message and its answer, once that is past.
 * @property message between an answer and the next message.
 * @property stripsSystem whether a system prompt is stripped of white space.
 * @property stripsAnswers whether past answers are.
 * @property thoughts tags around a model's thoughts, which are left out of past answers; null if
 *   those stay whole.
 */
data class Conversation(
    val system: Pair<String, String>?,
    val answer: String,
    val message: String,
    val stripsSystem: Boolean,
    val stripsAnswers: Boolean,
    val thoughts: Pair<String, String>?
) {
    /** An answer as the template writes it before the next message. */
    fun past(answer: String): String {
        val closing = thoughts?.second
        val at = if (closing == null) -1 else answer.lastIndexOf(closing)
        val rest =
            if (at < 0) answer else answer.substring(at + closing!!.length).trimStart('\n')
        return stripped(rest, stripsAnswers)
    }
}

/**
 * The base model's chat template, as the texts that it writes around those of turns.
 *
 * @property prefix default system prompt, if any, and start of the first message.
 * @property suffix end of the last message and start of the answer.
 * @property strip whether messages are stripped of white space.
 * @property conversation what is between the turns; null if conversations are not of this form.
 */
data class ChatTemplate(
    val prefix: String,
    val suffix: String,
    val strip: Boolean,
    val conversation: Conversation?
) {
    /**
     * A prompt as texts of the template and of turns, alternately.
     *
     * @param turns messages and answers, alternately; the last is the message to answer.
     */
    internal fun pieces(turns: List<String>, system: String? = null): List<String> {
        val between = conversation
        val around = between?.system
        val pieces = ArrayList<String>()
        if (system == null || around == null) {
            pieces.add(prefix)
        } else {
            pieces += listOf(around.first, stripped(system, between.stripsSystem), around.second)
        }
        for ((index, turn) in turns.withIndex()) {
            val isAnswer = index % 2 == 1
            if (index > 0 && between != null) {
                pieces.add(if (isAnswer) between.answer else between.message)
            }
            pieces.add(if (isAnswer && between != null) between.past(turn) else stripped(turn, strip))
        }
        pieces.add(suffix)
        return pieces
    }
}

private fun stripped(text: String, strip: Boolean) =
    if (strip) text.trim { Characters.isPythonSpace(it) } else text
