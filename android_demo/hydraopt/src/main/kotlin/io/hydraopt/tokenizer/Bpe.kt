package io.hydraopt.tokenizer

import java.util.PriorityQueue

/**
 * Byte pair encoding: merges the pair with the lowest rank, the leftmost first, until no pair
 * has a merge.
 *
 * @param merges the merges.
 * @param symbols what a word consists of before it is merged.
 * @param whole the token that a whole word is without merging, or -1.
 */
internal class Bpe(
    private val merges: Merges,
    private val symbols: Words,
    private val whole: (String) -> Int
) : Words {
    override fun encode(word: String): IntArray {
        val id = whole(word)
        return if (id >= 0) intArrayOf(id) else Word(symbols.encode(word)).merge()
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
                val rank = (candidate ushr 32).toInt()
                if (rankAt(place) == rank) join(place, rank) // else tokens were merged with others
            }
            return tokens.filter { it != GONE }.toIntArray()
        }

        private fun join(place: Int, rank: Int) {
            val right = next[place]
            tokens[place] = merges.merged(rank)
            tokens[right] = GONE
            next[place] = next[right]
            if (next[right] != NONE) before[next[right]] = place
            offer(place)
            if (before[place] != NONE) offer(before[place])
        }

        private fun offer(place: Int) {
            val rank = rankAt(place)
            if (rank >= 0) candidates.add((rank.toLong() shl 32) or place.toLong())
        }

        private fun rankAt(place: Int): Int = when {
            tokens[place] == GONE || next[place] == NONE -> -1
            else -> merges.rank(tokens[place], tokens[next[place]])
        }
    }

    private companion object {
        const val NONE = -1
        const val GONE = -2
    }
}
