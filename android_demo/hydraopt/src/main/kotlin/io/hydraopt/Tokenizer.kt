package io.hydraopt

import java.io.File
import java.io.IOException
import java.text.Normalizer

/**
 * A byte-level BPE tokenizer of a `tokenizer.json`, as GPT-2, SmolLM2, Llama 3, Qwen and their like
 * have. It gives the ids and texts that the `tokenizers` package gives.
 *
 * To be used by one thread at a time.
 */
class Tokenizer internal constructor(private val parts: Parts) {
    /** What `tokenizer.json` says, see [TokenizerFormat]. */
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
     * @param addSpecialTokens whether those that begin or end a text are added.
     */
    @JvmOverloads
    fun encode(text: String, addSpecialTokens: Boolean = true): IntArray {
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
     * Text of [ids]; what is no whole character becomes U+FFFD, and unknown ids nothing.
     *
     * @param skipSpecialTokens whether special tokens become nothing, too.
     */
    @JvmOverloads
    fun decode(ids: IntArray, skipSpecialTokens: Boolean = true): String {
        val stream = TextStream(parts, skipSpecialTokens)
        return ids.joinToString("") { stream.push(it) } + stream.finish()
    }

    /** Text of ids that come one by one, without special tokens. */
    internal fun stream() = TextStream(parts, skipSpecialTokens = true)

    /** Holds back the bytes of a character until all of them came. */
    internal class TextStream(private val parts: Parts, private val skipSpecialTokens: Boolean) {
        private val text = Utf8()

        /** What [id] completes. */
        fun push(id: Int): String {
            if (skipSpecialTokens && id in parts.special) return ""
            return parts.tokens[id]?.let { text.push(ByteLevel.read(it)) } ?: ""
        }

        /** What is left after the last one. */
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
        /**
         * Reads a `tokenizer.json`.
         *
         * @throws BundleException a file that cannot be read or is damaged, or another kind of
         *   tokenizer.
         */
        @JvmStatic
        fun read(file: File): Tokenizer =
            try {
                Tokenizer(TokenizerFormat.read(Fields("it", Json.parse(file.readText()))))
            } catch (error: FormatException) {
                throw BundleException(
                    "$file is no tokenizer for this library (${error.message}); export again",
                    error
                )
            } catch (error: IOException) {
                val reason = error.message
                throw BundleException("$file cannot be read ($reason); copy it again", error)
            }
    }
}
