package io.hydraopt

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** What ends an answer and what of it is shown, however it comes in pieces. */
class EndingsTest {
    private val tags = Pair("<t>", "</t>")

    private fun shown(text: String, size: Int, stop: List<String>): Pair<String, Boolean> {
        val shown = Shown(tags, stop)
        val pieces = text.chunked(size).map(shown::push) + shown.finish("")
        return Pair(pieces.joinToString(""), shown.isStopped)
    }

    private fun check(text: String, expected: String, vararg stop: String) {
        for (size in 1..text.length + 1) {
            val found = shown(text, size, stop.toList())
            assertEquals("$text in $size", Pair(expected, stop.isNotEmpty()), found)
        }
    }

    @Test
    fun aTextEndsBeforeItsFirstStopString() {
        check("ab###c", "ab", "###")
        check("ab####c", "ab", "x", "###")
        check("a#b##c", "a#b", "##", "###")
        check("abcd", "a", "bc", "c") // both are complete at c
        check("abcd", "", "abcd", "abc")
        check("ab###", "ab", "###")
    }

    @Test
    fun whatCannotBeAStopStringIsShownAtOnce() {
        val stops = StopStrings(listOf("###"))
        assertEquals(listOf("ab", "", "", "##c"), listOf("ab", "#", "#", "c").map(stops::push))
        assertEquals("", stops.finish())
        assertEquals("", stops.push("#"))
        assertEquals("#", stops.finish())
    }

    @Test
    fun emptyThoughtsAreNotShown() {
        check("<t>\n\n</t>\n\nHi", "Hi")
        check(" <t></t>Hi <t></t>", "Hi <t></t>")
        check("<t>\n</t>\n ", "")
        check("<t>\n</t>\n a#b", "a", "#")
        for (text in listOf("<t>\nHm\n</t>\n\nHi", "<t>\n</", "<t>", "<th", "  Hi", "\n", "")) {
            check(text, text)
        }
    }

    @Test
    fun aStopStringIsNotEmpty() {
        refuses<UsageException>("a stop string is empty, which ends every text") {
            Options(stop = listOf("a", ""))
        }
        assertTrue(Options(stop = listOf("a")).stop.isNotEmpty())
    }
}
