package io.hydraopt

/** A growing array of bytes. */
internal class Bytes {
    var bytes = ByteArray(64)
        private set
    var size = 0
        private set

    fun clear() {
        size = 0
    }

    fun add(byte: Int) {
        if (size == bytes.size) bytes = bytes.copyOf(2 * size)
        bytes[size++] = byte.toByte()
    }

    fun add(other: Bytes) = add(other.bytes, 0, other.size)

    /** Adds those of [source] from [from] up to [to]. */
    fun add(source: ByteArray, from: Int, to: Int) {
        val needed = size + to - from
        if (needed > bytes.size) bytes = bytes.copyOf(maxOf(needed, 2 * bytes.size))
        source.copyInto(bytes, size, from, to)
        size = needed
    }

    /** Adds a character's UTF-8. */
    fun addCode(code: Int) {
        when {
            code < 0x80 -> return add(code)
            code < 0x800 -> add(0xc0 or (code shr 6))
            else -> {
                if (code < 0x10000) add(0xe0 or (code shr 12)) else add(0xf0 or (code shr 18))
                if (code >= 0x10000) add(0x80 or (code shr 12 and 0x3f))
                add(0x80 or (code shr 6 and 0x3f))
            }
        }
        add(0x80 or (code and 0x3f))
    }

    /** Text, of UTF-8. */
    override fun toString() = String(bytes, 0, size, Charsets.UTF_8)
}
