package io.hydraopt

/** Tokens that are matched verbatim before a text is split: leftmost, then longest. */
internal class AddedTokens(tokens: List<Pair<String, Int>>) {
    private val byStart = tokens.groupBy { it.first[0] }
        .mapValues { (_, same) -> same.sortedByDescending { it.first.length } }

    /** Calls [token] and [between] for all parts of [text], in order. */
    inline fun split(text: String, token: (Int) -> Unit, between: (String) -> Unit) {
        var start = 0
        var at = 0
        while (at < text.length) {
            val found = at(text, at)
            if (found == null) {
                at++
                continue
            }
            if (at > start) between(text.substring(start, at))
            token(found.second)
            at += found.first.length
            start = at
        }
        if (start < text.length) between(text.substring(start))
    }

    fun at(text: String, at: Int): Pair<String, Int>? =
        byStart[text[at]]?.firstOrNull { text.startsWith(it.first, at) }
}
