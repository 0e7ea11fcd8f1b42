package io.hydraopt.tokenizer

import io.hydraopt.Bytes
import io.hydraopt.FormatException

/**
 * Tokens and their ids. Their UTF-8 lies in one array and a hash table finds them, without an
 * object per token: there are hundreds of thousands.
 */
internal class Vocabulary {
    private val texts = Bytes()
    private var ends = IntArray(1024) // of the tokens' texts, in the file's order
    private var ids = IntArray(1024)
    private var byId = IntArray(1024) // 1 + place of an id's token, 0 without one
    private var slots = IntArray(4096) // the same, by hash

    /** Number of tokens. */
    var size = 0
        private set

    /** Bytes of the longest token. */
    var longest = 0
        private set

    /** Adds a token; a later one of the same text replaces it. */
    fun add(text: Bytes, id: Int) {
        if (id !in 0 until LARGEST) throw FormatException("token id $id is above $LARGEST")
        if (size == ids.size) {
            ids = ids.copyOf(2 * size)
            ends = ends.copyOf(2 * size)
        }
        if (2 * size >= slots.size) rehash()
        if (id >= byId.size) byId = byId.copyOf(maxOf(2 * byId.size, id + 1))
        texts.add(text.bytes, 0, text.size)
        longest = maxOf(longest, text.size)
        ends[size] = texts.size
        ids[size] = id
        byId[id] = ++size
        slots[slot(hash(text.bytes, 0, text.size), text.bytes, 0, text.size)] = size
    }

    private fun rehash() {
        slots = IntArray(2 * slots.size)
        for (place in 0 until size) {
            val hash = hash(texts.bytes, start(place), ends[place])
            slots[slot(hash, texts.bytes, start(place), ends[place])] = place + 1
        }
    }

    private fun start(place: Int) = if (place == 0) 0 else ends[place - 1]

    /** The id of a token; -1 if there is none. */
    operator fun get(text: String): Int = text.toByteArray().let { get(it, 0, it.size) }

    /** The id of the token with these bytes from [from] up to [to]; -1 if there is none. */
    fun get(bytes: ByteArray, from: Int, to: Int): Int = get(hash(bytes, from, to), bytes, from, to)

    /** The same for bytes with a known [hash]. */
    fun get(hash: Int, bytes: ByteArray, from: Int, to: Int): Int {
        val place = slots[slot(hash, bytes, from, to)] - 1
        return if (place < 0) -1 else ids[place]
    }

    /** The token of an id; null if there is none. */
    fun text(id: Int): String? {
        val place = (byId.getOrNull(id) ?: 0) - 1
        if (place < 0) return null
        return String(texts.bytes, start(place), ends[place] - start(place), Charsets.UTF_8)
    }

    private fun slot(hash: Int, bytes: ByteArray, from: Int, to: Int): Int {
        var slot = (hash * MIX ushr 7) and (slots.size - 1)
        while (slots[slot] != 0 && !isSame(slots[slot] - 1, bytes, from, to)) {
            slot = (slot + 1) and (slots.size - 1)
        }
        return slot
    }

    private fun isSame(place: Int, bytes: ByteArray, from: Int, to: Int): Boolean {
        val start = start(place)
        if (ends[place] - start != to - from) return false
        for (index in 0 until to - from) {
            if (texts.bytes[start + index] != bytes[from + index]) return false
        }
        return true
    }

    companion object {
        private const val LARGEST = 1 shl 22
        private const val MIX = -0x61c88647

        /** The hash of no bytes. */
        const val EMPTY = -0x7ee3623b

        /** FNV-1a: the hash of bytes with another one. */
        fun hash(before: Int, byte: Byte): Int = (before xor (byte.toInt() and 0xff)) * 16777619

        private fun hash(bytes: ByteArray, from: Int, to: Int): Int {
            var hash = EMPTY
            for (at in from until to) hash = hash(hash, bytes[at])
            return hash
        }
    }
}
