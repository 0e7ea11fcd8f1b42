package io.hydraopt

/** A map from pairs of token ids to two numbers, without an object per entry, to save memory. */
internal class PairTable(entries: Int) {
    private val mask = Integer.highestOneBit(maxOf(2 * entries, 2)).let { 2 * it - 1 }
    private val keys = LongArray(mask + 1) { EMPTY }
    private val values = LongArray(mask + 1)

    operator fun set(left: Int, right: Int, value: Long) {
        val slot = slot(key(left, right))
        keys[slot] = key(left, right)
        values[slot] = value
    }

    /** The value of a pair, or -1. */
    operator fun get(left: Int, right: Int): Long {
        val slot = slot(key(left, right))
        return if (keys[slot] == EMPTY) -1 else values[slot]
    }

    private fun slot(key: Long): Int {
        var slot = (key * -0x61c8864680b583ebL ushr 32).toInt() and mask
        while (keys[slot] != EMPTY && keys[slot] != key) slot = (slot + 1) and mask
        return slot
    }

    private fun key(left: Int, right: Int) = (left.toLong() shl 32) or right.toLong()

    private companion object {
        const val EMPTY = -1L
    }
}
