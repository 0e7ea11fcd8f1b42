package io.hydraopt

import io.hydraopt.tokenizer.Pipeline
import io.hydraopt.tokenizer.TokenizerFormat
import java.io.File
import java.io.IOException

/**
 * Turns texts into token ids and back. [read] reads those of a bundle; an app may pass one of its
 * own to [TaskSession.open].
 *
 * A session calls it on one thread at a time.
 */
interface Tokenizer {
    /**
     * Token ids of [text].
     *
     * @param addSpecialTokens whether to add the tokens that begin or end every text.
     * @param parseSpecialTokens whether what reads as a special token, such as `<|im_end|>`, is
     *   one; false for what a user typed, which is then plain text.
     * @throws TaskException half of a surrogate pair stands alone in [text].
     */
    fun encode(
        text: String,
        addSpecialTokens: Boolean = true,
        parseSpecialTokens: Boolean = true
    ): IntArray

    /**
     * Token ids of a text in [pieces]: those of a chat template, in which special tokens are parsed,
     * and those of turns, in which they are plain text, alternately. None is added.
     *
     * A tokenizer whose words may reach from one piece into the next encodes them at once; this
     * encodes them one by one.
     *
     * @throws TaskException as [encode].
     */
    fun encodeTurns(pieces: List<String>): IntArray =
        pieces.flatMapIndexed { index, piece ->
            encode(piece, addSpecialTokens = false, parseSpecialTokens = index % 2 == 0).toList()
        }.toIntArray()

    /**
     * Text of [ids]; incomplete characters become U+FFFD, unknown ids are skipped.
     *
     * @param skipSpecialTokens whether to skip special tokens.
     */
    fun decode(ids: IntArray, skipSpecialTokens: Boolean = true): String

    /**
     * Decodes ids one by one, without special tokens; the pieces add up to [decode]'s text.
     *
     * By default the last piece's ids are decoded again with every new one. Where tokens are single
     * bytes that [decode] takes or refuses as a run, override it: keep a run until it ends.
     */
    fun stream(): TextStream = DecodedStream(this)

    /** Reads tokenizers. */
    companion object {
        /** Throws [TaskException] for a text that has no UTF-8. */
        internal fun checkText(text: String) {
            val at = Utf8.loneSurrogate(text).takeIf { it >= 0 } ?: return
            val place = grouped(text.codePointCount(0, at).toLong())
            throw TaskException("the prompt is not UTF-8 at character $place; correct it")
        }

        /**
         * Reads a `tokenizer.json`. Ids and texts equal those of the `tokenizers` package. The
         * result is not thread-safe.
         *
         * @throws BundleException the file cannot be read, is damaged, or has a part that is not
         *   understood.
         */
        @JvmStatic
        fun read(file: File): Tokenizer =
            try {
                file.inputStream().use { Pipeline(TokenizerFormat.read(it)) }
            } catch (error: FormatException) {
                throw BundleException(
                    "$file is not a tokenizer for this library (${oneLine("${error.message}")}); " +
                        "pass one of your own to TaskSession.open, or token ids to generateIds " +
                        "or forward",
                    error
                )
            } catch (error: IOException) {
                val reason = error.message
                throw BundleException("$file cannot be read ($reason); copy it again", error)
            }
    }
}

/** Makes text of ids that come one by one. */
interface TextStream {
    /** The text that [id] completes; empty while a character is incomplete. */
    fun push(id: Int): String

    /** The rest after the last id. */
    fun finish(): String
}
