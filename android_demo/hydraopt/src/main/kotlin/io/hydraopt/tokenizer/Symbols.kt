package io.hydraopt.tokenizer

import io.hydraopt.Utf8
import java.util.Locale

/** A word's bytes, as tokens of byte-level BPE. */
internal class ByteSymbols(vocabulary: Vocabulary) : Words {
    private val ids = IntArray(256) { vocabulary["${ByteLevel.character(it)}"] }

    // a byte without a token is left out, as there is no unknown token
    override fun encode(word: String): IntArray =
        word.toByteArray().map { ids[it.toInt() and 0xff] }.filter { it >= 0 }.toIntArray()
}

/** Tokens `<0x00>` to `<0xFF>`, for characters that have none of their own. */
internal class ByteTokens(vocabulary: Vocabulary) {
    private val ids = IntArray(256) { vocabulary[String.format(Locale.ROOT, "<0x%02X>", it)] }

    /** The tokens of bytes from [from] up to [to]; null if one has none. */
    fun encode(bytes: ByteArray, from: Int, to: Int): IntArray? {
        val found = IntArray(to - from) { ids[bytes[from + it].toInt() and 0xff] }
        return found.takeIf { ids -> ids.all { it >= 0 } }
    }
}

/**
 * A word's characters, as tokens of BPE as SentencePiece makes it.
 *
 * @param bytes tokens of bytes, for a character without a token; null without such.
 * @param unknown the token of a character that has none otherwise; -1 leaves it out.
 * @param fused whether neighbours of that kind are one token.
 */
internal class CharacterSymbols(
    private val vocabulary: Vocabulary,
    private val bytes: ByteTokens?,
    private val unknown: Int,
    private val fused: Boolean
) : Words {
    override fun encode(word: String): IntArray {
        val text = word.toByteArray()
        val found = Ids()
        var waiting = false // an unknown token comes before the next known one
        var at = 0
        while (at < text.size) {
            val end = at + Utf8.length(text[at])
            val id = vocabulary.get(text, at, end)
            val inBytes = if (id < 0) bytes?.encode(text, at, end) else null
            if (id >= 0) {
                if (waiting) found.add(unknown)
                waiting = false
                found.add(id)
            } else if (inBytes != null) {
                found.addAll(inBytes)
            } else if (unknown >= 0) {
                if (waiting && !fused) found.add(unknown)
                waiting = true
            }
            at = end
        }
        if (waiting) found.add(unknown)
        return found.toArray()
    }
}
