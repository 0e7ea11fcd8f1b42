package io.hydraopt

import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

/** Ids and texts are those of PyPI's `tokenizers`, for every kind that is read. */
class TokenizerTest {
    private fun kinds(): List<File> = Fixtures.file("tokenizers").listFiles()!!.sorted()

    private fun golden(kind: File, part: String): List<Fields> =
        Fields("golden.json", Json.parse(File(kind, "golden.json").readText()))
            .list(part).map { Fields("a record", it) }

    private fun shown(text: String) =
        text.map { if (it in ' '..'~') "$it" else "\\u%04x".format(it.code) }.joinToString("")

    @Test
    fun idsAreThoseOfPython() {
        for (kind in kinds()) {
            val tokenizer = Tokenizer.read(File(kind, "tokenizer.json"))
            for (case in golden(kind, "encoded")) {
                val text = case.string("text")
                val where = "${kind.name}: ${shown(text)}"
                assertEquals(where, case.ints("ids"), tokenizer.encode(text).toList())
                val plain = tokenizer.encode(text, addSpecialTokens = false)
                assertEquals(where, case.ints("plain"), plain.toList())
                val typed = tokenizer.encode(
                    text,
                    addSpecialTokens = false,
                    parseSpecialTokens = false
                )
                assertEquals(where, case.ints("typed"), typed.toList())
            }
        }
    }

    @Test
    fun aTurnsTextMakesNoSpecialTokens() {
        for (kind in kinds()) {
            val tokenizer = Tokenizer.read(File(kind, "tokenizer.json"))
            val cases = golden(kind, "turns")
            assertTrue(cases.size > 100)
            for (case in cases) {
                val pieces = case.list("pieces").map { it as String }
                val where = "${kind.name}: ${shown(pieces.joinToString("|"))}"
                assertEquals(where, case.ints("ids"), tokenizer.encodeTurns(pieces).toList())
            }
        }
    }

    @Test
    fun textsAreThoseOfPython() {
        for (kind in kinds()) {
            val tokenizer = Tokenizer.read(File(kind, "tokenizer.json"))
            for (case in golden(kind, "encoded")) {
                val ids = case.ints("ids").toIntArray()
                assertEquals(kind.name, case.string("decoded"), tokenizer.decode(ids))
                val special = tokenizer.decode(ids, skipSpecialTokens = false)
                assertEquals(kind.name, case.string("special"), special)
            }
            for (case in golden(kind, "decoded")) {
                val text = tokenizer.decode(case.ints("ids").toIntArray())
                assertEquals(kind.name, case.string("text"), text)
            }
        }
    }

    /** One that an app could write: it streams by the interface's own means. */
    private class Wrapped(private val tokenizer: Tokenizer) : Tokenizer {
        override fun encode(
            text: String,
            addSpecialTokens: Boolean,
            parseSpecialTokens: Boolean
        ) = tokenizer.encode(text, addSpecialTokens, parseSpecialTokens)

        override fun decode(ids: IntArray, skipSpecialTokens: Boolean) =
            tokenizer.decode(ids, skipSpecialTokens)
    }

    @Test
    fun piecesAreWholeCharactersAndTogetherTheText() {
        for (kind in kinds()) {
            val tokenizer = Tokenizer.read(File(kind, "tokenizer.json"))
            val cases = golden(kind, "encoded")
            checkPieces(cases, tokenizer)
            checkPieces(cases.filter { it.string("text").length < 10 }, Wrapped(tokenizer))
        }
    }

    private fun checkPieces(cases: List<Fields>, tokenizer: Tokenizer) {
        for (case in cases) {
            val stream = tokenizer.stream()
            val pieces = case.ints("ids").map(stream::push) + stream.finish()
            assertEquals(case.string("decoded"), pieces.joinToString(""))
            if ('\ufffd' !in case.string("decoded")) assertFalse(pieces.any { '\ufffd' in it })
            assertFalse(pieces.any { it.isNotEmpty() && it.last().isHighSurrogate() })
        }
    }

    @Test
    fun otherKindsAreRefusedInWords() {
        val cases = Fixtures.records("refused/refused.json")
        assertTrue(cases.size > 10)
        for (case in cases) {
            val file = Fixtures.file("refused/${case.string("file")}")
            refuses<BundleException>(case.string("message")) { Tokenizer.read(file) }
            refuses<BundleException>("$file is not a tokenizer") { Tokenizer.read(file) }
        }
    }

    @Test
    fun aLongWordTakesNoLongTime() {
        val tokenizer = Tokenizer.read(Fixtures.file("tokenizers/gpt2/tokenizer.json"))
        val word = "abcdefghij".repeat(20_000)
        assertEquals(word, tokenizer.decode(tokenizer.encode(word)).trim())
    }
}
