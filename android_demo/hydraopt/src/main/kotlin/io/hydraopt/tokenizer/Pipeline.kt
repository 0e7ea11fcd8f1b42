package io.hydraopt.tokenizer

import io.hydraopt.TextStream
import io.hydraopt.Tokenizer

/** The tokenizer that a `tokenizer.json` describes, see [TokenizerFormat]. */
internal class Pipeline(private val parts: Parts) : Tokenizer {
    private val twins by lazy { Twins(parts) }

    /**
     * The content of `tokenizer.json`.
     *
     * @property raw tokens that are found before a text is normalized.
     * @property normalized tokens that are found after it.
     * @property before ids before every text.
     * @property after ids after every text.
     * @property decoder makes the steps from tokens to text.
     */
    class Parts(
        val vocabulary: Vocabulary,
        val added: Map<Int, String>,
        val special: Set<Int>,
        val raw: AddedTokens,
        val normalized: AddedTokens,
        val normalizers: List<Normalizing>,
        val splitters: List<Splitter>,
        val words: Words,
        val before: IntArray,
        val after: IntArray,
        val decoder: () -> List<Step>
    )

    override fun encode(
        text: String,
        addSpecialTokens: Boolean,
        parseSpecialTokens: Boolean
    ): IntArray {
        Tokenizer.checkText(text)
        val plain = if (parseSpecialTokens) setOf() else parts.special
        val found = Ids()
        if (addSpecialTokens) found.addAll(parts.before)
        encode(text, parts.raw, parts.normalized, plain, found)
        if (addSpecialTokens) found.addAll(parts.after)
        return found.toArray()
    }

    override fun encodeTurns(pieces: List<String>): IntArray {
        pieces.forEach(Tokenizer::checkText)
        val found = Ids()
        encode(twins.joined(pieces), twins.raw, twins.normalized, parts.special, found)
        return found.toArray().also { ids ->
            for (index in ids.indices) ids[index] = twins.original(ids[index])
        }
    }

    private fun encode(
        text: String,
        raw: AddedTokens,
        normalized: AddedTokens,
        plain: Set<Int>,
        found: Ids
    ) = raw.split(text, plain, found::add) { between, first ->
        val normal = parts.normalizers.fold(between) { it, step -> step.normalize(it) }
        normalized.split(normal, plain, found::add) { part, leads ->
            encode(part, first && leads, found)
        }
    }

    private fun encode(text: String, first: Boolean, found: Ids) {
        var words = listOf(text)
        for (splitter in parts.splitters) {
            words = words.flatMapIndexed { index, word ->
                splitter.split(word, first && index == 0 && text.startsWith(word))
            }
        }
        for (word in words) found.addAll(parts.words.encode(word))
    }

    override fun decode(ids: IntArray, skipSpecialTokens: Boolean): String {
        val stream = Decoding(skipSpecialTokens)
        return ids.joinToString("") { stream.push(it) } + stream.finish()
    }

    override fun stream(): TextStream = Decoding(skipSpecialTokens = true)

    private inner class Decoding(private val skipSpecialTokens: Boolean) : TextStream {
        private val steps = parts.decoder()

        override fun push(id: Int): String {
            if (skipSpecialTokens && id in parts.special) return ""
            val token = parts.added[id] ?: parts.vocabulary.text(id) ?: return ""
            return steps.fold(listOf(token)) { pieces, step -> pieces.flatMap(step::push) }
                .joinToString("")
        }

        override fun finish(): String {
            val none = listOf<String>()
            return steps.fold(none) { pieces, step -> pieces.flatMap(step::push) + step.finish() }
                .joinToString("")
        }
    }
}
