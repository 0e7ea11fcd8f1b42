package io.hydraopt

/**
 * Decodes UTF-8 in pieces. Invalid bytes become U+FFFD, one per maximal subpart of a character, as
 * Unicode recommends; an incomplete character is kept for the next piece.
 */
internal class Utf8 {
    private var pending = ByteArray(0)

    /** The characters that [bytes] complete. */
    fun push(bytes: ByteArray): String = decode(pending + bytes, last = false)

    /** The rest at the end. */
    fun finish(): String = decode(pending, last = true)

    private fun decode(bytes: ByteArray, last: Boolean): String {
        val text = StringBuilder()
        var at = 0
        while (at < bytes.size) {
            val length = length(bytes[at])
            val good = goodBytes(bytes, at, length)
            if (good == length) {
                text.appendCodePoint(code(bytes, at, length))
            } else if (at + good == bytes.size && good > 0 && !last) {
                break
            } else {
                text.append('\ufffd')
            }
            at += maxOf(good, 1)
        }
        pending = bytes.copyOfRange(at, bytes.size)
        return text.toString()
    }

    private fun code(bytes: ByteArray, at: Int, length: Int): Int {
        val first = bytes[at].toInt() and 0xff
        var code = if (length == 1) first else first and (0xff shr (length + 1))
        for (index in 1 until length) code = (code shl 6) or (bytes[at + index].toInt() and 0x3f)
        return code
    }

    companion object {
        /** Bytes of the character that starts with [byte]. */
        fun length(byte: Byte): Int {
            val first = byte.toInt() and 0xff
            return when {
                first < 0x80 -> 1
                first < 0xe0 -> 2
                first < 0xf0 -> 3
                else -> 4
            }
        }

        /** Whether a character starts with [byte]. */
        fun isStart(byte: Byte): Boolean = byte.toInt() and 0xc0 != 0x80

        /** Whether the first [size] bytes are whole characters. */
        fun isValid(bytes: ByteArray, size: Int): Boolean {
            var at = 0
            while (at < size) {
                val length = length(bytes[at])
                if (at + length > size || goodBytes(bytes, at, length) < length) return false
                at += length
            }
            return true
        }

        /** How many bytes from [at] can be those of a character of [length] bytes. */
        private fun goodBytes(bytes: ByteArray, at: Int, length: Int): Int {
            val first = bytes[at].toInt() and 0xff
            if (first in 0x80..0xc1 || first > 0xf4) return 0
            var good = 1
            while (good < length && at + good < bytes.size) {
                val byte = bytes[at + good].toInt() and 0xff
                val range = if (good == 1) second(first) else 0x80..0xbf
                if (byte !in range) break
                good++
            }
            return good
        }

        /** Second bytes that may follow [first], excluding overlong encodings. */
        private fun second(first: Int): IntRange = when (first) {
            0xe0 -> 0xa0..0xbf
            0xed -> 0x80..0x9f
            0xf0 -> 0x90..0xbf
            0xf4 -> 0x80..0x8f
            else -> 0x80..0xbf
        }

        /** Where a half of a pair stands alone, which no UTF-8 has; -1 if nowhere. */
        fun loneSurrogate(text: String): Int {
            var at = 0
            while (at < text.length) {
                val code = text.codePointAt(at)
                if (code in 0xd800..0xdfff) return at
                at += Character.charCount(code)
            }
            return -1
        }
    }
}
