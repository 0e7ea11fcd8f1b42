package io.hydraopt

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer
import java.io.File
import java.util.Random
import org.junit.Assert.assertEquals
import org.junit.BeforeClass
import org.junit.Test

/** The `tokenizers` crate in DJL, on this JVM, makes the same of random texts of all scripts. */
class OracleTest {
    /** Thousands of texts of letters whose classes no version of Unicode changed. */
    private class Texts(private val draw: Random) {
        private val ranges = Fixtures.records("characters.json")
            .map { it.int("first")..it.int("last") }

        fun next(): String = List(1 + draw.nextInt(10)) { part() }.joinToString("")

        private fun part(): String = when (draw.nextInt(10)) {
            in 0..3 -> run()
            in 4..5 -> WORDS[draw.nextInt(WORDS.size)]
            in 6..7 -> " ".repeat(1 + draw.nextInt(2))
            8 -> SIGNS[draw.nextInt(SIGNS.size)].repeat(1 + draw.nextInt(3))
            else -> run().take(1).trimEnd(Char::isHighSurrogate) + MARKS[draw.nextInt(MARKS.size)]
        }

        /** Neighbours of one script. */
        private fun run(): String {
            val range = ranges[draw.nextInt(ranges.size)]
            val text = StringBuilder()
            repeat(1 + draw.nextInt(9)) {
                text.appendCodePoint(range.first + draw.nextInt(range.last - range.first + 1))
            }
            return "$text"
        }
    }

    @Test
    fun idsAndTextsAreThoseOfDjl() {
        val kinds = Fixtures.file("tokenizers").listFiles()!!.sorted()
        for (kind in kinds) {
            val file = File(kind, "tokenizer.json")
            val builder = HuggingFaceTokenizer.builder().optTokenizerPath(file.toPath())
                .optTruncation(false).optPadding(false)
            val texts = Texts(Random(kind.name.hashCode().toLong()))
            builder.build().use { oracle -> compare(kind.name, Tokenizer.read(file), oracle, texts) }
        }
    }

    private fun compare(
        kind: String,
        tokenizer: Tokenizer,
        oracle: HuggingFaceTokenizer,
        texts: Texts
    ) {
        repeat(TEXTS) {
            val text = texts.next()
            val where = "$kind: ${shown(text)}"
            val ids = oracle.encode(text, true, false).ids
            val found = tokenizer.encode(text)
            assertEquals(where, ids.toList(), found.map { it.toLong() })
            assertEquals(where, oracle.decode(ids, true), tokenizer.decode(found))
        }
    }

    private fun shown(text: String) =
        text.map { if (it in ' '..'~') "$it" else "\\u%04x".format(it.code) }.joinToString("")

    companion object {
        private const val TEXTS = 3000
        private val WORDS = listOf(
            "Hello", "world", "the", "I'll", "don't", "it's", "3.14", "2026", "x²", "ﬁne", "Ⅷ",
            "Straße", "İstanbul", "naïve", "ΟΔΟΣ", "日本語", "한국어", "العربية", "हिन्दी", "ไทย",
            "👩‍👩‍👧", "🇩🇪", "👍🏽", "<s>", "<mask>", "[SEP]", "<unk>", "<0x41>", "hello",
            "http://x.y/z?q=1"
        )
        private val SIGNS = listOf(
            "\n", "\t", "\r\n", "\u000b", "\u0000", "\u001c", "\u007f", "\u0085", "\u00a0",
            "\u00ad", "\u200b", "\u200d", "\u2028", "\u3000", "\ufeff", "\ufffd", ".", ",", "!",
            "-", "_", "'", "\"", "``", "▁", "$", "€"
        )
        private val MARKS = listOf(
            "\u0300", "\u0301", "\u0308", "\u0327", "\u0323\u0302", "\u05b4", "\u064b", "\u093f",
            "\u0e33", "\u200d", "\u20dd", "\u3099", "\u1161", "\u11a8"
        )

        @JvmStatic
        @BeforeClass
        fun offline() {
            System.setProperty("ai.djl.offline", "true")
            System.setProperty("DJL_CACHE_DIR", File("target/djl").absolutePath)
        }
    }
}
