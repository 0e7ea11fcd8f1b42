package io.hydraopt.tokenizer

import io.hydraopt.Utf8

/**
 * A unigram language model: of all ways to split a word into tokens the one of the highest score
 * ([arXiv 1804.10959](https://arxiv.org/abs/1804.10959)), found by Viterbi's algorithm.
 *
 * @param scores of the tokens, by id.
 * @param unknown the token of what has none.
 * @param bytes tokens of bytes in its place; null without such.
 */
internal class Unigram(
    private val vocabulary: Vocabulary,
    private val scores: DoubleArray,
    private val unknown: Int,
    private val bytes: ByteTokens?
) : Words {
    private val unknownScore = (scores.minOrNull() ?: 0.0) - PENALTY

    override fun encode(word: String): IntArray {
        val text = word.toByteArray()
        return tokens(text, Paths(text).starts())
    }

    /** The best paths to all places of a text. */
    private inner class Paths(private val text: ByteArray) {
        private val best = DoubleArray(text.size + 1)
        private val from = IntArray(text.size + 1) { NONE }
        private val known = BooleanArray(text.size + 1)

        /** Where the tokens of the best path start; unknown ones that follow each other are one. */
        fun starts(): BooleanArray {
            var at = 0
            while (at < text.size) {
                val next = at + Utf8.length(text[at])
                if (!offerTokens(at, next)) offer(at, next, unknownScore, isKnown = false)
                at = next
            }
            val starts = BooleanArray(text.size + 1)
            var end = text.size
            while (end > 0) {
                val start = from[end]
                starts[start] = known[end] || start == 0 || known[start]
                end = start
            }
            return starts
        }

        /** Offers all tokens from [start] on; whether one is the character that ends at [next]. */
        private fun offerTokens(start: Int, next: Int): Boolean {
            var hash = Vocabulary.EMPTY
            var single = false
            for (end in start + 1..minOf(text.size, start + vocabulary.longest)) {
                hash = Vocabulary.hash(hash, text[end - 1])
                val id = vocabulary.get(hash, text, start, end)
                if (id < 0) continue
                offer(start, end, scores[id], id != unknown)
                single = single || end == next
            }
            return single
        }

        private fun offer(start: Int, end: Int, score: Double, isKnown: Boolean) {
            val total = best[start] + score
            if (from[end] != NONE && total <= best[end]) return
            best[end] = total
            from[end] = start
            known[end] = isKnown
        }
    }

    private fun tokens(text: ByteArray, starts: BooleanArray): IntArray {
        val found = Ids()
        var start = 0
        for (end in 1..text.size) {
            if (end < text.size && !starts[end]) continue
            val id = vocabulary.get(text, start, end)
            val inBytes = if (id < 0) bytes?.encode(text, start, end) else null
            if (inBytes != null) found.addAll(inBytes) else found.add(if (id < 0) unknown else id)
            start = end
        }
        return found.toArray()
    }

    private companion object {
        const val PENALTY = 10.0
        const val NONE = -1
    }
}
