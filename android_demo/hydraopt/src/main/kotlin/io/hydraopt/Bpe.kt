package io.hydraopt

import java.util.PriorityQueue

/**
 * Byte pair encoding: merges the pair with the lowest rank, the leftmost first, until no pair
 * has a merge.
 *
 * @param ids token id by its text.
 * @param merges pairs of token ids to `rank shl 32 or merged id`.
 * @param wholeWords whether a word that is a token is not merged further.
 */
internal class Bpe(
    private val ids: Map<String, Int>,
    private val merges: PairTable,
    private val wholeWords: Boolean
) {
    private val byteIds = IntArray(256) { ids["${ByteLevel.character(it)}"] ?: -1 }
    private val cache = object : LinkedHashMap<String, IntArray>(64, 0.75f, true) {
        override fun removeEldestEntry(eldest: Map.Entry<String, IntArray>) = size > CACHED
    }

    /** Token ids of one word. */
    fun encode(word: String): IntArray {
        if (word.length > LONG) return merged(word)
        return cache[word] ?: merged(word).also { cache[word] = it }
    }

    private fun merged(word: String): IntArray {
        val bytes = word.toByteArray()
        if (wholeWords) ids[ByteLevel.written(bytes)]?.let { return intArrayOf(it) }
        // a byte without a token is left out, as there is no unknown token
        val tokens = bytes.map { byteIds[it.toInt() and 0xff] }.filter { it >= 0 }.toIntArray()
        return Word(tokens).merge()
    }

    /** A word's tokens as a linked list, and the merges that are possible in it. */
    private inner class Word(private val tokens: IntArray) {
        private val next = IntArray(tokens.size) { if (it + 1 < tokens.size) it + 1 else NONE }
        private val before = IntArray(tokens.size) { it - 1 }
        private val candidates = PriorityQueue<Long>() // rank, then place

        fun merge(): IntArray {
            for (place in tokens.indices) offer(place)
            while (true) {
                val candidate = candidates.poll() ?: break
                val place = candidate.toInt()
                val merge = mergeAt(place)
                val isThere = merge >= 0 && merge ushr 32 == candidate ushr 32
                if (isThere) join(place, merge.toInt()) // else its tokens were merged with others
            }
            return tokens.filter { it != GONE }.toIntArray()
        }

        private fun join(place: Int, merged: Int) {
            val right = next[place]
            tokens[place] = merged
            tokens[right] = GONE
            next[place] = next[right]
            if (next[right] != NONE) before[next[right]] = place
            offer(place)
            if (before[place] != NONE) offer(before[place])
        }

        private fun offer(place: Int) {
            val merge = mergeAt(place)
            if (merge >= 0) candidates.add((merge ushr 32 shl 32) or place.toLong())
        }

        private fun mergeAt(place: Int): Long = when {
            tokens[place] == GONE || next[place] == NONE -> -1
            else -> merges[tokens[place], tokens[next[place]]]
        }
    }

    private companion object {
        const val NONE = -1
        const val GONE = -2
        const val LONG = 64
        const val CACHED = 4096
    }
}
