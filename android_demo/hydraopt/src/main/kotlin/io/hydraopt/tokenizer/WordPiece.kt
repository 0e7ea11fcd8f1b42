package io.hydraopt.tokenizer

import io.hydraopt.Utf8

/**
 * WordPiece: the longest token that a word begins with, then that of the rest, as BERT has it.
 *
 * @param prefix of tokens within a word, `##`.
 * @param unknown the token of a word that has no tokens, or more than [longest] characters.
 */
internal class WordPiece(
    private val vocabulary: Vocabulary,
    prefix: String,
    private val unknown: Int,
    private val longest: Int
) : Words {
    private val prefix = prefix.toByteArray()

    override fun encode(word: String): IntArray {
        val found = Ids()
        var text = word.toByteArray()
        if (word.codePointCount(0, word.length) > longest) return intArrayOf(unknown)
        var rest = 0 // where the text starts that has no token yet; the prefix is before it
        while (rest < text.size) {
            val end = longestToken(text)
            if (end <= rest) return intArrayOf(unknown)
            found.add(vocabulary.get(text, 0, end))
            text = prefix + text.copyOfRange(end, text.size)
            rest = prefix.size
        }
        return found.toArray()
    }

    /** Where the longest token ends that [text] starts with; 0 if there is none. */
    private fun longestToken(text: ByteArray): Int {
        var hash = Vocabulary.EMPTY
        var longest = 0
        for (at in text.indices) {
            hash = Vocabulary.hash(hash, text[at])
            val ends = at + 1 == text.size || Utf8.isStart(text[at + 1])
            if (ends && vocabulary.get(hash, text, 0, at + 1) >= 0) longest = at + 1
        }
        return longest
    }
}
