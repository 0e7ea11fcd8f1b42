package io.hydraopt.tokenizer

import io.hydraopt.FormatException
import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * SentencePiece's table of what replaces which characters: a double-array trie
 * ([Darts-clone](https://github.com/s-yata/darts-clone)) of their UTF-8, and texts that end
 * with 0.
 *
 * @param table bytes of the trie (four, little-endian), trie, texts.
 */
internal class Precompiled(table: ByteArray) : Normalizing {
    private val units: IntArray
    private val texts: ByteArray

    init {
        val buffer = ByteBuffer.wrap(table).order(ByteOrder.LITTLE_ENDIAN)
        val bytes = if (table.size < 4) -1 else buffer.getInt()
        if (bytes !in 4..table.size - 4) throw FormatException("precompiled_charsmap is cut off")
        units = IntArray(bytes / 4) { buffer.getInt() }
        texts = table.copyOfRange(4 + bytes, table.size)
    }

    override fun normalize(text: String): String {
        val found = StringBuilder(text.length)
        var at = 0
        while (at < text.length) {
            val end = Graphemes.end(text, at)
            val whole = text.substring(at, end).toByteArray()
            val instead = if (whole.size < LONG) replacement(whole) else null
            if (instead != null) found.append(instead) else characters(text, at, end, found)
            at = end
        }
        return "$found"
    }

    private fun characters(text: String, from: Int, to: Int, found: StringBuilder) {
        var at = from
        while (at < to) {
            val code = text.codePointAt(at)
            val next = at + Character.charCount(code)
            val instead = replacement(text.substring(at, next).toByteArray())
            if (instead != null) found.append(instead) else found.appendCodePoint(code)
            at = next
        }
    }

    /** What replaces the shortest beginning of [key] that is in the trie, as in SentencePiece. */
    private fun replacement(key: ByteArray): String? {
        var place = offset(unit(0))
        for (byte in key) {
            val label = byte.toInt() and 0xff
            if (label == 0) return null
            place = place xor label
            val unit = unit(place)
            if (unit and LABEL != label) return null
            place = place xor offset(unit)
            if (unit and LEAF != 0) return text(unit(place) and VALUE)
        }
        return null
    }

    private fun text(start: Int): String {
        var end = start
        while (end < texts.size && texts[end] != 0.toByte()) end++
        return if (start < end) String(texts, start, end - start) else ""
    }

    private fun unit(place: Int): Int = units.getOrElse(place) { 0 }

    private fun offset(unit: Int): Int = unit ushr 10 shl (unit and (1 shl 9) ushr 6)

    private companion object {
        const val LONG = 6 // bytes
        const val LABEL = (1 shl 31) or 0xff
        const val LEAF = 1 shl 8
        const val VALUE = Int.MAX_VALUE
    }
}
