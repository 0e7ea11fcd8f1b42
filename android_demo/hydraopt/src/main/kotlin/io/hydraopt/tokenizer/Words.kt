package io.hydraopt.tokenizer

/** Token ids of a word. */
internal fun interface Words {
    fun encode(word: String): IntArray
}

/** Remembers the ids of [words]'s last words. */
internal class Remembered(private val words: Words) : Words {
    private val known = object : LinkedHashMap<String, IntArray>(64, 0.75f, true) {
        override fun removeEldestEntry(eldest: Map.Entry<String, IntArray>) = size > MOST
    }

    override fun encode(word: String): IntArray {
        if (word.length > LONGEST) return words.encode(word)
        return known[word] ?: words.encode(word).also { known[word] = it }
    }

    private companion object {
        const val LONGEST = 64
        const val MOST = 4096
    }
}

/** A growing array of ids. */
internal class Ids {
    private var ids = IntArray(64)

    var size = 0
        private set

    fun add(id: Int) {
        if (size == ids.size) ids = ids.copyOf(2 * size)
        ids[size++] = id
    }

    fun addAll(more: IntArray) = more.forEach(::add)

    fun toArray() = ids.copyOf(size)
}
