package io.hydraopt

/** Tokens that are found in a text as they are, before it is split: the longest of the leftmost. */
internal class AddedTokens(tokens: Map<String, Int>) {
    private val byStart = tokens.entries.groupBy { it.key[0] }
        .mapValues { (_, entries) -> entries.sortedByDescending { it.key.length } }

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
            token(found.value)
            at += found.key.length
            start = at
        }
        if (start < text.length) between(text.substring(start))
    }

    fun at(text: String, at: Int): Map.Entry<String, Int>? =
        byStart[text[at]]?.firstOrNull { text.startsWith(it.key, at) }
}
