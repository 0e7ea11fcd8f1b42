package io.hydraopt.tokenizer

/** Pairs of token ids and what they merge to, in order of rank, without an object per pair. */
internal class Merges {
    private var left = IntArray(1024)
    private var right = IntArray(1024)
    private var merged = IntArray(1024)
    private var slots = IntArray(4096) // 1 + rank by the pair's hash, 0 if free

    /** Number of merges. */
    var size = 0
        private set

    /** Adds the merge of the next rank; a later one of the same pair replaces it. */
    fun add(left: Int, right: Int, merged: Int) {
        if (size == this.left.size) {
            this.left = this.left.copyOf(2 * size)
            this.right = this.right.copyOf(2 * size)
            this.merged = this.merged.copyOf(2 * size)
        }
        if (2 * size >= slots.size) rehash()
        this.left[size] = left
        this.right[size] = right
        this.merged[size] = merged
        slots[slot(left, right)] = ++size
    }

    private fun rehash() {
        slots = IntArray(2 * slots.size)
        for (rank in 0 until size) slots[slot(left[rank], right[rank])] = rank + 1
    }

    /** The rank of a pair's merge; -1 if it has none. */
    fun rank(left: Int, right: Int): Int = slots[slot(left, right)] - 1

    /** The token that the merge of [rank] makes. */
    fun merged(rank: Int): Int = merged[rank]

    private fun slot(left: Int, right: Int): Int {
        val key = (left.toLong() shl 32) or right.toLong()
        var slot = (key * MIX ushr 32).toInt() and (slots.size - 1)
        while (slots[slot] != 0 && !isSame(slots[slot] - 1, left, right)) {
            slot = (slot + 1) and (slots.size - 1)
        }
        return slot
    }

    private fun isSame(rank: Int, left: Int, right: Int) =
        this.left[rank] == left && this.right[rank] == right

    private companion object {
        const val MIX = -0x61c8864680b583ebL
    }
}
