package io.hydraopt.tokenizer

import io.hydraopt.Fields

/** The decoder of a `tokenizer.json`. */
internal object DecoderFormat {
    private const val KNOWN =
        "ByteLevel, Metaspace, WordPiece, or of Replace, ByteFallback, Fuse and Strip"

    /** Makes the steps from tokens to text, which keep what belongs to one text. */
    fun decoder(steps: List<Fields>): () -> List<Step> {
        val fuse = steps.indexOfFirst { it.string("type") == "Fuse" }
        val fused = if (fuse < 0) steps.size else fuse
        val makers = steps.mapIndexedNotNull { index, step -> maker(step, index > fused) }
        if (makers.isEmpty()) refuse("the decoder", "null", KNOWN)
        return { makers.map { it() } }
    }

    private fun maker(step: Fields, fused: Boolean): (() -> Step)? {
        val type = step.string("type")
        if (fused && type != "Strip") refuse("the decoder after Fuse", type, "Strip")
        return when (type) {
            "ByteLevel" -> ::BytesOfTokens
            "ByteFallback" -> ::ByteRuns
            "Fuse" -> null
            "Replace" -> replace(step)
            "Strip" -> strip(step, fused)
            "Metaspace" -> metaspace(step)
            "WordPiece" -> wordPiece(step)
            else -> refuse("the decoder", type, KNOWN)
        }
    }

    private fun replace(step: Fields): () -> Step {
        val text = step.fields("pattern").optional("String") as? String
            ?: refuse("the decoder Replace", "of a pattern", "of a text")
        val content = step.string("content")
        return { EachToken { it.replace(text, content) } }
    }

    private fun strip(step: Fields, fused: Boolean): () -> Step {
        val char = single(step.string("content"), "the content of Strip")[0]
        val (start, stop) = Pair(step.int("start"), step.int("stop"))
        if (!fused) refuse("the decoder Strip", "before Fuse", "after it")
        if (stop != 0) refuse("the decoder Strip", "of $stop characters at the end", "of none")
        return { StartStripped(char, start) }
    }

    private fun metaspace(step: Fields): () -> Step {
        val mark = single(step.string("replacement"), "the replacement of Metaspace")
        val start = if (step.string("prepend_scheme") == "never") " " else ""
        return { FirstToken({ it.replace(mark, start) }, { it.replace(mark, " ") }) }
    }

    private fun wordPiece(step: Fields): () -> Step {
        val prefix = step.string("prefix")
        val tidy: (String) -> String = if (step.boolean("cleanup")) ::tidied else { it -> it }
        return {
            FirstToken(tidy) {
                tidy(if (it.startsWith(prefix)) it.removePrefix(prefix) else " $it")
            }
        }
    }
}
