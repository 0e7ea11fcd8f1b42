package io.hydraopt.tokenizer

import io.hydraopt.Characters

/**
 * A token that is matched verbatim before a text is split.
 *
 * @param alone whether it is matched between other characters than letters only.
 * @param takesBefore whether white space before it belongs to it.
 * @param takesAfter whether white space after it belongs to it.
 */
internal data class AddedToken(
    val content: String,
    val id: Int,
    val alone: Boolean = false,
    val takesBefore: Boolean = false,
    val takesAfter: Boolean = false
)

/** Finds added tokens: leftmost, then longest. */
internal class AddedTokens(private val tokens: List<AddedToken>) {
    private val byContent = tokens.associateBy { it.content }
    private val lengths = tokens.groupBy({ it.content[0] }, { it.content.length })
        .mapValues { (_, same) -> same.distinct().sortedDescending() }

    /** These tokens and one more for each that [twin] makes one of. */
    fun withTwins(twin: (AddedToken) -> AddedToken?) = AddedTokens(tokens + tokens.mapNotNull(twin))

    /**
     * Calls [token] and [between] for all parts of [text], in order.
     *
     * @param plain ids whose tokens are plain text here.
     * @param between gets a text, and whether [text] starts with it.
     */
    fun split(
        text: String,
        plain: Set<Int>,
        token: (Int) -> Unit,
        between: (String, Boolean) -> Unit
    ) {
        var start = 0
        var at = 0
        while (at < text.length) {
            val found = at(text, at)
            if (found == null) {
                at++
                continue
            }
            val end = at + found.content.length
            if (found.id !in plain && !(found.alone && isInWord(text, at, end))) {
                val from = if (found.takesBefore) maxOf(start, spacesBefore(text, at)) else at
                if (from > start) between(text.substring(start, from), start == 0)
                token(found.id)
                start = if (found.takesAfter) spacesAfter(text, end) else end
            }
            at = end
        }
        if (start < text.length) between(text.substring(start), start == 0)
    }

    private fun at(text: String, at: Int): AddedToken? {
        for (length in lengths[text[at]] ?: return null) {
            if (at + length > text.length) continue
            byContent[text.substring(at, at + length)]?.let { return it }
        }
        return null
    }

    private fun isInWord(text: String, from: Int, to: Int) =
        (from > 0 && Characters.isWord(text.codePointBefore(from))) ||
            (to < text.length && Characters.isWord(text.codePointAt(to)))

    private fun spacesBefore(text: String, at: Int): Int {
        var start = at
        while (start > 0 && Characters.isSpace(text[start - 1].code)) start--
        return start
    }

    private fun spacesAfter(text: String, at: Int): Int {
        var end = at
        while (end < text.length && Characters.isSpace(text[end].code)) end++
        return end
    }
}
