package io.hydraopt

import java.io.File
import java.io.IOException
import java.text.Normalizer

/**
 * A byte-level BPE tokenizer of a `tokenizer.json`, as of GPT-2, SmolLM2, Llama 3 and Qwen. Ids and
 * texts equal those of the `tokenizers` package.
 *
 * Not thread-safe.
 */
class Tokenizer internal constructor(private val parts: Parts) {
    /** The content of `tokenizer.json`, see [TokenizerFormat]. */
    internal class Parts(
        val bpe: Bpe,
        val tokens: Map<Int, String>,
        val special: Set<Int>,
        val raw: AddedTokens,
        val normalized: AddedTokens,
        val nfc: Boolean,
        val prefixSpace: Boolean,
        val splitters: List<Splitter>,
        val before: IntArray,
        val after: IntArray
    )

    /**
     * Token ids of [text].
     *
     * @param addSpecialTokens whether to add the tokens that begin or end a text.
     * @throws TaskException half of a surrogate pair stands alone in [text].
     */
    @JvmOverloads
    fun encode(text: String, addSpecialTokens: Boolean = true): IntArray {
        checkText(text)
        val found = Ids()
        if (addSpecialTokens) parts.before.forEach(found::add)
        parts.raw.split(text, found::add) { plain ->
            val normal = if (parts.nfc) Normalizer.normalize(plain, Normalizer.Form.NFC) else plain
            parts.normalized.split(normal, found::add) { words(it, found) }
        }
        if (addSpecialTokens) parts.after.forEach(found::add)
        return found.toArray()
    }

    private fun words(text: String, found: Ids) {
        val start = if (parts.prefixSpace && !text.startsWith(' ')) " $text" else text
        var words = listOf(start)
        for (splitter in parts.splitters) words = words.flatMap(splitter::split)
        for (word in words) parts.bpe.encode(word).forEach(found::add)
    }

    /**
     * Text of [ids]; incomplete characters become U+FFFD, unknown ids are skipped.
     *
     * @param skipSpecialTokens whether to skip special tokens.
     */
    @JvmOverloads
    fun decode(ids: IntArray, skipSpecialTokens: Boolean = true): String {
        val stream = TextStream(parts, skipSpecialTokens)
        return ids.joinToString("") { stream.push(it) } + stream.finish()
    }

    /** Decodes ids one by one, without special tokens. */
    internal fun stream() = TextStream(parts, skipSpecialTokens = true)

    /** Keeps the bytes of a character until it is complete. */
    internal class TextStream(private val parts: Parts, private val skipSpecialTokens: Boolean) {
        private val text = Utf8()

        /** The text that [id] completes. */
        fun push(id: Int): String {
            if (skipSpecialTokens && id in parts.special) return ""
            return parts.tokens[id]?.let { text.push(ByteLevel.read(it)) } ?: ""
        }

        /** The rest after the last id. */
        fun finish(): String = text.finish()
    }

    /** A growing array of ids. */
    private class Ids {
        private var ids = IntArray(64)
        private var count = 0

        fun add(id: Int) {
            if (count == ids.size) ids = ids.copyOf(2 * count)
            ids[count++] = id
        }

        fun toArray() = ids.copyOf(count)
    }

    companion object {
        /** Throws [TaskException] for a text that has no UTF-8. */
        internal fun checkText(text: String) {
            val at = Utf8.loneSurrogate(text).takeIf { it >= 0 } ?: return
            val place = grouped(text.codePointCount(0, at).toLong())
            throw TaskException("the prompt is not UTF-8 at character $place; correct it")
        }

        /**
         * Reads a `tokenizer.json`.
         *
         * @throws BundleException the file cannot be read, is damaged, or is another type of
         *   tokenizer.
         */
        @JvmStatic
        fun read(file: File): Tokenizer =
            try {
                Tokenizer(TokenizerFormat.read(Fields("it", Json.parse(file.readBytes()))))
            } catch (error: FormatException) {
                throw BundleException(
                    "$file is not a tokenizer for this library (${oneLine("${error.message}")}); " +
                        "make token ids with another one and pass them to generateIds or forward",
                    error
                )
            } catch (error: IOException) {
                val reason = error.message
                throw BundleException("$file cannot be read ($reason); copy it again", error)
            }
    }
}
